"""Bytes to and from workloads, as MCP messages: stdio, HTTP, HTTP+SSE. No policy, no settings."""
