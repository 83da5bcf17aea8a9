"""Runtimes: Docker Engine, sandboxed processes."""
