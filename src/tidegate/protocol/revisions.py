"""Protocol revisions as tables. MCP 2026-07-28, basic/versioning."""

from __future__ import annotations

MODERN = "2026-07-28"
"""The stateless era. Every request carries its revision in `_meta` and in a header."""

LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""The era of `initialize` and sessions, newest first."""

SUPPORTED = (MODERN, *LEGACY)
DEFAULT_LEGACY = "2025-03-26"
"""What a legacy request without `MCP-Protocol-Version` speaks (2025-11-25, transports)."""

BATCHES = "2025-03-26"
"""The one revision in which several messages may come at once."""

META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CLIENT = "io.modelcontextprotocol/clientInfo"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META_LOG_LEVEL = "io.modelcontextprotocol/logLevel"
META_SERVER = "io.modelcontextprotocol/serverInfo"
META_ERA = frozenset({META_VERSION, META_CLIENT, META_CAPABILITIES, META_LOG_LEVEL})
"""Keys of a request's `_meta` that belong to one hop and are made anew for the next."""

CODE_UNSUPPORTED_VERSION = -32022
CODE_MISSING_CAPABILITY = -32021
CODE_HEADER_MISMATCH = -32020
MODERN_ERRORS = frozenset({CODE_HEADER_MISMATCH, CODE_MISSING_CAPABILITY, CODE_UNSUPPORTED_VERSION})
"""Codes that only a modern server gives: an answer with one settles the era."""


def negotiate(requested: str) -> str:
    """Give the revision to answer an `initialize` with: the requested one, or our newest legacy one."""
    return requested if requested in LEGACY else LEGACY[0]
