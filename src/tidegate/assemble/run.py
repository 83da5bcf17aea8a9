"""Run: a gateway from its start until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
from contextlib import AsyncExitStack

from tidegate import __version__
from tidegate.assemble.gateway import start
from tidegate.assemble.plant import open_plant
from tidegate.settings import Settings
from tidegate.telemetry import configure_logs, log

_COLLECT = 10_000
"""Objects between collections. Calls leave no cycles behind; the default of 700 costs 3 % of a call."""
DRAIN = 10.0
"""Seconds that calls in flight have when the gateway stops."""


async def serve(settings: Settings) -> None:
    """Run a gateway until it is told to stop (SIGINT, SIGTERM, the control socket).

    Raises:
        TidegateError: it cannot be started; nothing is left running.
    """
    configure_logs(settings.logs.format, settings.logs.level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        plant = await open_plant(settings, stack)
        gateway = await start(settings, plant, stop.set, stack)
        log().info("gateway.started", url=gateway.url(), version=__version__)
        # What start has made stays until the end: no later collection has to look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT)
        await stop.wait()
        log().info("gateway.draining", in_flight=plant.limits.in_flight)
        gateway.path.drain()
        await asyncio.gather(*(listener.close(DRAIN) for listener in gateway.listeners))
    log().info("gateway.stopped")
