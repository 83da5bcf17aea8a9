"""Follow: sees that the settings file has changed, however it was saved, and says so once it has come to rest.

It looks at the file itself and not for events of the kernel: an editor that saves under another name, a
symbolic link that is turned to another directory (ConfigMaps of Kubernetes) and a file on a network all look
the same this way, and a look costs some microseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tidegate.assemble.source import SettingsFile, Stamp
from tidegate.telemetry import log

LOOK, REST = 1.0, 0.25
"""Seconds between looks; and from one that sees a change to the next: two that see the same are rest."""


async def follow(
    file: SettingsFile,
    seen: Stamp | None,
    changed: Callable[[], Awaitable[object]],
    look: float = LOOK,
    rest: float = REST,
) -> None:
    """Call `changed` each time the file has become another one than `seen`, and rests. Never ends by itself."""
    before = seen
    while True:
        await asyncio.sleep(look if before == seen else rest)
        stamp = await asyncio.to_thread(file.stamp)  # it may be on a disk that does not answer
        if stamp is not None and stamp != seen and stamp == before:
            seen = stamp
            try:
                await changed()
            except Exception as error:  # noqa: BLE001 - a supervisor: the next change must be seen too
                log().error("supervisor.failed", task="settings watch", exc_info=error)
        before = stamp
