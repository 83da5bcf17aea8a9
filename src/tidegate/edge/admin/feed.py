"""Feed: what happens in the gateway, as server-sent events to whoever follows.

Bounded in what is kept, in who follows, and in what waits for one that reads slowly: that one is told
that it is too slow and comes back with `Last-Event-ID`. No argument, result or secret is in an event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping

from msgspec import Struct

from tidegate.audit.journal import Journal
from tidegate.domain.errors import StreamsFull
from tidegate.domain.record import RecordKind
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.history import Happening
from tidegate.protocol.codec import encode

KEPT = 1000
"""Events that can be had again."""
BEHIND = 256
"""Events that may wait for one follower beside those it asked for again."""
FOLLOWERS = 32
"""Who may follow at one time."""
QUIET = 15.0
"""Seconds of silence after which a comment keeps the connection alive."""
_HELLO = b"retry: 2000\n\n"
"""Said at once, so that a client knows that it follows; how long it is to wait before it comes back."""
COUNT = 5.0
"""Seconds over which refusals are counted together."""


_RECORDED = frozenset({RecordKind.GATEWAY, RecordKind.ROLLOUT, RecordKind.KEY, RecordKind.STOP})
"""What of the journal is told as it is. Of workloads their history says more; calls are not told of one by one."""


class Event(Struct, frozen=True):
    """One thing that happened."""

    number: int
    kind: str
    server: str | None
    tenant: str
    """Of whoever did it, where that is known."""
    text: bytes
    """As it is sent."""


Hears = Callable[[str, str | None], bool]
"""Tells whether somebody hears of what a tenant's principal did, or happened to a server."""


def _everything(_: str, __: str | None) -> bool:
    return True


class Follower:
    """One who follows: what waits for it, and whether it is to go."""

    def __init__(self, leave: Callable[[Follower], None], server: str | None, hears: Hears) -> None:
        self._gone = leave
        self._hears = hears
        self._server = server
        self._waiting: deque[bytes] = deque()
        self._room = BEHIND
        self._wake = asyncio.Event()
        self._last: bytes | None = None
        """The last words to it, once there are any."""

    def leave(self) -> None:
        """Follow no more. Idempotent; to be called in any case: one that never read has no other end."""
        self._gone(self)

    def put(self, event: Event, *, again: bool = False) -> None:
        """Have an event sent; `again` where it was asked for, and takes no room."""
        if self._last is not None or not self.concerns(event):
            return
        if not again and len(self._waiting) >= self._room:
            self._waiting.clear()  # it has them all when it comes back
            self.end("dropped", f"more than {BEHIND} events waited for you; come back with Last-Event-ID")
            return
        self._waiting.append(event.text)
        self._room = max(self._room, len(self._waiting) + BEHIND) if again else self._room
        self._wake.set()

    def concerns(self, event: Event) -> bool:
        """Tell whether an event is one that it follows, and may."""
        return self._server in (None, event.server) and self._hears(event.tenant, event.server)

    def note(self, kind: str, reason: str) -> None:
        """Send a word about the stream itself, which has no id."""
        self._waiting.append(_text(kind, {"reason": reason}, None))
        self._wake.set()

    def end(self, kind: str, reason: str) -> None:
        """Let it go, with a last word."""
        if self._last is None:
            self._last = _text(kind, {"reason": reason}, None)
            self._wake.set()

    def so_far(self) -> bytes:
        """Give what is there to be sent, and follow no more."""
        self.leave()
        return b"".join(self._waiting)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Give what is to be sent, until it is over."""
        try:
            yield _HELLO
            while True:
                if self._waiting:
                    piece = b"".join(self._waiting)
                    self._waiting.clear()
                    self._room = BEHIND
                    yield piece
                elif self._last is not None:
                    yield self._last
                    return
                else:
                    self._wake.clear()
                    try:
                        async with asyncio.timeout(QUIET):
                            await self._wake.wait()
                    except TimeoutError:
                        yield b": \n\n"
        finally:
            self.leave()


class Feed:
    """Everything that happens, in order."""

    def __init__(self, boot: str, now: Callable[[], float]) -> None:
        """`boot` names this process; `now` gives Unix seconds."""
        self._boot = boot
        self._now = now
        self._number = 0
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._followers: set[Follower] = set()
        self._closed = False

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    def tell(
        self, kind: str, data: Mapping[str, object], server: str | None = None, tenant: str = ""
    ) -> None:
        """Say that something happened; `server` where it is one server's, `tenant` where somebody of it did it."""
        self._number += 1
        told = {"time": round(self._now(), 3), **({} if server is None else {"server": server}), **data}
        event = Event(self._number, kind, server, tenant, _text(kind, told, f"{self._boot}-{self._number}"))
        self._kept.append(event)
        for follower in list(self._followers):
            follower.put(event)

    def hear(self, fleet: Fleet, journal: Journal) -> None:
        """Tell from now on what happens to servers, and what else is recorded of the gateway."""

        def happened(server: str, it: Happening) -> None:
            kind = "workload" if it.workload else "server"
            named = {"workload": it.workload, "state": it.state, "reason": it.reason}
            self.tell(kind, {name: value for name, value in named.items() if value}, server)

        def recorded(kind: RecordKind, fields: Mapping[str, object]) -> None:
            if kind in _RECORDED:
                server, tenant = fields.get("server"), fields.get("tenant")
                self.tell(
                    kind.value, fields, server if isinstance(server, str) else None,
                    tenant if isinstance(tenant, str) else "",
                )  # fmt: skip

        fleet.happened, journal.heard = happened, recorded

    def follow(
        self,
        last: str | None = None,
        *,
        recent: int = 0,
        server: str | None = None,
        hears: Hears = _everything,
    ) -> Follower:
        """Begin to follow: after the event of the id `last`, else with so many `recent` ones first.

        `hears` is asked about each event.

        Raises:
            StreamsFull: as many follow as may.
        """
        if self._closed or len(self._followers) >= FOLLOWERS:
            raise StreamsFull(f"{FOLLOWERS} follow the events already, as many as may")
        follower = Follower(self._followers.discard, server, hears)
        self._followers.add(follower)
        after = None if last is None else self._after(last)
        if last is not None and after is None:
            follower.note("lost", "what came after that event is not kept any more, or was another process's")
        kept = [event for event in self._kept if after is None or event.number > after]
        if last is None:
            kept = [event for event in kept if follower.concerns(event)]
            kept = kept[len(kept) - min(recent, len(kept)) :]
        for event in kept:
            follower.put(event, again=True)
        return follower

    def close(self) -> None:
        """Let everybody go: the gateway is stopping."""
        self._closed = True
        for follower in list(self._followers):
            follower.end("end", "the gateway is stopping")

    async def count(self, refusals: Mapping[str, int]) -> None:
        """Tell how many refusals there were of which reason, now and then, until cancelled."""
        before = dict(refusals)
        while True:
            await asyncio.sleep(COUNT)
            more = {reason: count - before.get(reason, 0) for reason, count in refusals.items()}
            more = {reason: count for reason, count in more.items() if count > 0}
            if more and self._followers:  # nobody would want them an hour later, and they push out the rest
                self.tell("refusals", {"seconds": COUNT, "reasons": more})
            before = dict(refusals)

    def _after(self, last: str) -> int | None:
        boot, _, number = last.rpartition("-")
        if boot != self._boot or not number.isascii() or not number.isdecimal() or len(number) > 15:
            return None
        first = self._kept[0].number if self._kept else self._number + 1
        return int(number) if first - 1 <= int(number) <= self._number else None


def _text(kind: str, data: Mapping[str, object], event_id: str | None) -> bytes:
    head = b"" if event_id is None else b"id: %b\n" % event_id.encode()
    return head + b"event: %b\ndata: %b\n\n" % (kind.encode(), encode(data))
