"""Run: a gateway from its start until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import termios
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

from tidegate import __version__
from tidegate.assemble.background import watch
from tidegate.assemble.follow import follow
from tidegate.assemble.gateway import start
from tidegate.assemble.plant import open_plant, surroundings
from tidegate.assemble.reload import Reload
from tidegate.assemble.source import SettingsFile
from tidegate.domain.errors import SettingsError, TidegateError
from tidegate.secret_sources import SecretWatch
from tidegate.settings import Settings
from tidegate.settings.versions import Version, Versions, digest_of
from tidegate.state_directory import StateDirectory
from tidegate.telemetry import configure_logs, log

_COLLECT = (10_000, 3, 30)
"""Objects between collections, and collections of the young between those of older ones. Calls leave no cycles behind;
the default of 700 costs 3 % of a call. The loop stands still for a collection, also for one that another thread caused:
so those of the second generation come early, while they are small, and of all as seldom as by default."""
DRAIN = 10.0
"""Seconds that calls in flight have when the gateway stops."""


async def serve(file: SettingsFile) -> None:
    """Run a gateway until it is told to stop (SIGINT, SIGTERM, the control socket), following its settings file.

    Raises:
        TidegateError: it cannot be started; nothing is left running.
    """
    stamp = file.stamp()
    settings, text, kept = _settings(file, file.read())
    configure_logs(settings.logs.format, settings.logs.level)
    stop, hang_up = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _on_hang_up(stop.set, hang_up.set))
    async with AsyncExitStack() as stack:
        plant = await open_plant(settings, stack)
        version = kept or Versions(plant.directory.path).add(text, "start", file.path, {})
        reload = Reload(plant, file, settings, version)
        gateway = await start(settings, plant, reload, stop.set, stack)
        reload.begin(gateway)
        watch(stack, _when_told(hang_up, reload), "settings signal")
        watch(stack, follow(file, stamp, lambda: _follow(reload)), "settings watch")
        secrets = SecretWatch(
            lambda: reload.settings.secrets, surroundings(settings, plant.directory), lambda _: _renew(reload)
        )
        watch(stack, secrets.run(), "secret watch")
        log().info("gateway.started", url=gateway.url(), version=__version__)
        if version.over is not None:
            log().warning("settings.overridden", version=version.number, file=str(file.path))
        # What start has made stays until the end: no later collection has to look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT)
        await stop.wait()
        log().info("gateway.draining", in_flight=plant.limits.in_flight)
        gateway.drain()
        await asyncio.gather(*(listener.close(DRAIN) for listener in gateway.listeners))
    log().info("gateway.stopped")


def _settings(file: SettingsFile, text: str) -> tuple[Settings, str, Version | None]:
    """Give the settings to start with, their text, and their version where it is the one that was in force last.

    They are the file's, unless an earlier version was put in its place and the file is still the one it was then.
    """
    try:
        settings = file.parse(text)
    except SettingsError:
        kept = _last(file)
        if kept is None or kept.over != digest_of(text):
            raise
        return file.parse(kept.text, f"version {kept.number}"), kept.text, kept
    kept = _last(file, settings)
    if kept is not None and kept.over == digest_of(text):
        return file.parse(kept.text, f"version {kept.number}"), kept.text, kept
    return settings, text, kept if kept is not None and kept.over is None and kept.text == text else None


def _last(file: SettingsFile, settings: Settings | None = None) -> Version | None:
    """Give the version that was in force last, where that can be known."""
    with suppress(TidegateError):
        state = settings.state if settings is not None else file.state()
        StateDirectory.look(state)  # nobody else can have written there
        return Versions(state).active()
    return None


def _on_hang_up(stop: Callable[[], None], reload: Callable[[], None]) -> Callable[[], None]:
    """Take SIGHUP for what it means: reload, but where the terminal hung up that the gateway was started in, the end."""
    terminal = os.isatty(0)

    def told() -> None:
        try:
            if terminal:
                termios.tcgetattr(0)
        except termios.error:
            stop()
        else:
            reload()

    return told


async def _when_told(hang_up: asyncio.Event, reload: Reload) -> None:
    while True:
        await hang_up.wait()
        hang_up.clear()
        with suppress(TidegateError):  # it is logged, and shown in the status
            await reload.reload("signal")


async def _follow(reload: Reload) -> None:
    if reload.settings.reload == "auto":
        with suppress(TidegateError):  # it is logged, and shown in the status
            await reload.reload("file")


async def _renew(reload: Reload) -> None:
    with suppress(TidegateError):  # it is logged, and shown in the status
        await reload.again("secrets")
