"""Desired against observed: what should run, what runs, and who gets a place on it. No MCP message is read here."""
