"""Health: the prober, which looks after the workloads that nobody calls, and has every pool note that time passes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tidegate.fleet.pool import Pool
from tidegate.telemetry import log

BEAT = 1.0
"""Seconds between looks."""


class Prober:
    """Has idle workloads asked for a cheap answer, `health.every` seconds after anything was last heard of them."""

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        """`pools` may become others."""
        self._pools = pools

    async def run(self) -> None:
        """Look for ever. Cancel it to end it."""
        while True:
            await asyncio.sleep(BEAT)
            for pool in list(self._pools.values()):
                try:
                    pool.turn()
                except Exception as error:  # noqa: BLE001 - a supervisor: one server's oddity must not stop the others
                    log().error("supervisor.failed", server=pool.spec.name, task="prober", exc_info=error)
