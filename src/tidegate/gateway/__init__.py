"""The path of a call: pipeline, catalog, sessions. What decides an order that is a security property is written here, not configured."""
