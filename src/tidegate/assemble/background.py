"""Background: what runs beside the path of a call for as long as the gateway does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack

from tidegate.audit.journal import Journal
from tidegate.domain.errors import JournalUnavailable, StateError
from tidegate.domain.record import RecordKind
from tidegate.extensions.identity.keys import KeyIdentity, KeyRecord
from tidegate.telemetry import log

_TICK = 30.0
"""Seconds between looks at what the journal owes."""


async def tick(journal: Journal) -> None:
    """Have the journal write what is due though nothing else is recorded."""
    while True:
        await asyncio.sleep(_TICK)
        journal.tick()


async def follow_keys(identity: KeyIdentity, journal: Journal) -> None:
    """Keep the keys current, and record what becomes of them; go on where the store is busy."""

    def tell(key: KeyRecord, what: str) -> None:
        fields = {
            "event": what,
            "id": key.id,
            "name": key.name,
            "tenant": key.tenant,
            "roles": sorted(key.roles),
        }
        journal.event(RecordKind.KEY, fields)

    while True:
        try:
            await identity.follow(tell)
        except (StateError, JournalUnavailable) as error:
            log().error("state.failed", reason=str(error))
        await asyncio.sleep(1.0)


def watch(stack: AsyncExitStack, work: Coroutine[None, None, None], name: str) -> None:
    """Keep a task until the stack is closed."""
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.wait([task])

    stack.push_async_callback(end)
