"""How late the event loop runs: whoever stalls it stalls every call."""

from __future__ import annotations

import asyncio

from tidegate.telemetry import Metrics

_LOOK = 0.02
"""Seconds between looks: stalls from a few milliseconds on are seen."""


async def watch_loop(metrics: Metrics) -> None:
    """Note the longest time the loop was late, for ever."""
    loop = asyncio.get_running_loop()
    due = loop.time() + _LOOK
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        now = loop.time()
        metrics.stall_max = max(metrics.stall_max, now - due)
        due = now + _LOOK
