"""MCP clients in other languages, as programs that do what they are told and print what came."""
