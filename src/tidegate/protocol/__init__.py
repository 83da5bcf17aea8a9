"""MCP without I/O: codec, revisions, framing, eras, bridge, naming. No asyncio, clock, socket or logging here."""
