"""Stops, put on the plant: read before anything is served, followed, and told of in the journal and the log."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict

from tidegate.access.stop_store import StopStore
from tidegate.access.stops import Following, Stops
from tidegate.assemble.background import watch
from tidegate.audit.journal import Journal
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RecordKind
from tidegate.domain.stop import Stop
from tidegate.ports.state import State
from tidegate.telemetry import log


def open_store(state: State) -> StopStore:
    """Give the stops in a state store."""
    return StopStore(state, clock=time.time, new_id=_new_id)


async def follow_stops(state: State, journal: Journal, stack: AsyncExitStack) -> Following:
    """Know what is stopped from now on. Where it cannot be read, calls are refused until it can."""
    following = Following(open_store(state), Stops())

    def tell(added: Sequence[Stop], gone: Sequence[Stop]) -> None:
        for stop in added:
            log().warning("stop.in_force", stop=stop.id, what=stop.words, reason=stop.reason, by=stop.by)
            _record(journal, "in_force", stop)
        for stop in gone:
            log().warning("stop.lifted", stop=stop.id, what=stop.words)
            _record(journal, "expired" if stop.ended(time.time()) else "lifted", stop)

    following.stops.when_changed.append(tell)
    await following.look()
    watch(stack, following.run(), "stop watch")
    return following


def _record(journal: Journal, event: str, stop: Stop) -> None:
    fields = {"event": event, **asdict(stop), "scope": stop.scope.value}
    try:
        journal.event(RecordKind.STOP, fields)
    except JournalUnavailable as error:  # it is in force all the same
        log().error("journal.unavailable", reason=str(error))


def _new_id() -> str:
    return base64.b32encode(secrets.token_bytes(5)).decode().lower()
