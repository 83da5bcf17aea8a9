"""tidegate: an MCP gateway that runs every MCP server in its own hardened container."""

__version__ = "0.1.0"
