"""A gateway and a real identity provider, end to end."""
