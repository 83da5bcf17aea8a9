"""A small marine insurer: invented data, real servers. Nothing of the gateway depends on this package."""
