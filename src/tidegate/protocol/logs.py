"""Levels of log messages, as MCP has them from syslog (RFC 5424, 6.2.1)."""

from __future__ import annotations

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""The most talkative first."""
_RANK = {level: rank for rank, level in enumerate(LEVELS)}


def at_least(level: str | None, wanted: str) -> bool:
    """Tell whether a message of `level` is wanted by whoever wants `wanted`. One of no known level is."""
    return _RANK.get(level or "", len(LEVELS)) >= _RANK.get(wanted, 0)
