"""A small HTTP/1.1 client for one origin: pool, TLS, proxy, bounds, events. Nothing of MCP."""
