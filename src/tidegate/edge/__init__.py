"""HTTP in: MCP, probes, metrics, control socket. Nothing here decides who may do what."""
