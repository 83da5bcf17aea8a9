"""Auditing: what the journal has, for administrators: everything for the operator, a tenant's records for its own.

Who looks is recorded, as is what for. Where a page ends is sealed for who asked and what for, so that nothing else can be
looked up with it. Reads the files beside the loop; proves nothing, which `tidegate audit verify` does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path

from tidegate.audit.search import Page, Wanted, search
from tidegate.edge.admin.door import Actor
from tidegate.edge.admin.problem import Problem
from tidegate.edge.admin.sight import Sight
from tidegate.gateway.seal import Seal, SealBroken
from tidegate.protocol.codec import encode

Recording = Callable[..., None]
"""Records an event with its fields for an actor, or raises JournalRefused."""
_SEARCH, _PATIENCE = 5.0, 20.0
"""Seconds that a page takes at most; and that it is waited for, with those before it."""
_AT_ONCE = 2
"""Pages that are looked for at one time, of different administrators."""
_KIND = "audit place"
"""Of what is sealed."""
_LIFETIME = 3600.0
"""Seconds after a page in which the next may be asked for: what is looked at later is a look of its own."""


class Auditing:
    """What administrators may look up."""

    def __init__(self, journal: Path, record: Recording, seal: Seal) -> None:
        """`journal` is the directory of its files."""
        self._journal = journal
        self._record = record
        self._seal = seal
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._asking: set[str] = set()
        """Keys of who looks for something."""

    async def page(self, wanted: Wanted, most: int, after: str | None, actor: Actor, sight: Sight) -> bytes:
        """Give a page of records as JSON: `records`, newest first, and `next`, after which the next page comes.

        Raises:
            Problem: whoever asks looks for another page still, too many others do, or `after` is not of this look.
            JournalUnavailable: it cannot be read.
            JournalRefused: it cannot be recorded who asks.
        """
        who = actor.principal.key
        if who in self._asking:
            raise Problem(429, "overloaded", "you look for another page still; ask for one at a time")
        if sight.tenant is not None:
            wanted = replace(wanted, tenant=sight.tenant, servers=sight.servers)
        bound = _bound(who, wanted)
        place = None if after is None else self._opened(after, bound)
        self._asking.add(who)
        try:
            if place is None:  # the pages that follow are of the same look
                self._record(actor, "audit", **_told(wanted))
            page = await self._search(wanted, most, place)
            following = None if page.next is None else self._seal.seal(_KIND, page.next.encode(), bound=bound)
            return b'{"records":[%b],"next":%b}' % (b",".join(page.lines), encode(following))
        except ValueError as error:
            raise Problem(422, "invalid_params", f"after: {error}") from None
        finally:
            self._asking.discard(who)

    def _opened(self, after: str, bound: str) -> str:
        try:
            return self._seal.open(_KIND, after, bound=bound, lifetime=_LIFETIME).decode()
        except SealBroken as error:
            told = "after: that is no page of this question, or an old one; ask without it"
            raise Problem(422, "invalid_params", told) from error

    async def _search(self, wanted: Wanted, most: int, place: str | None) -> Page:
        try:
            async with asyncio.timeout(_PATIENCE), self._places:
                end = time.monotonic() + _SEARCH
                return await asyncio.to_thread(
                    search, self._journal, wanted, most, place, expired=lambda: time.monotonic() > end
                )
        except TimeoutError:
            raise Problem(503, "overloaded", "the journal is searched for others; try again") from None


def _bound(who: str, wanted: Wanted) -> str:
    """Say who looks and what for; which servers a tenant has may change meanwhile."""
    asked = encode([getattr(wanted, each.name) for each in fields(wanted) if each.name != "servers"])
    return f"{who}\0{sha256(asked).hexdigest()}"


def _told(wanted: Wanted) -> dict[str, object]:
    """Give what was looked for, for the record."""
    found: dict[str, object] = {
        f"wanted_{name}": value
        for name in ("principal", "tool", "server", "decision", "reason", "kind", "call")
        if (value := getattr(wanted, name))
    }
    if wanted.since:
        found["wanted_since"] = wanted.since
    if wanted.until != float("inf"):
        found["wanted_until"] = wanted.until
    return found
