"""Streams that a client takes up again at another gateway than the one that has them: events go by mail.

The gateway that has the stream keeps it and numbers its events; the one that the client came to looks
whether it may still read, and passes on. Each burst is acknowledged before the next is sent.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

import msgspec

from tidegate.domain.errors import GatewayUnreachable, StateError, StateRefused, StreamsFull
from tidegate.gateway.event_ids import EventId
from tidegate.gateway.mail import Mail
from tidegate.gateway.stream import Writer

LENT, LENT_EACH = 128, 32
"""Streams that go to other gateways at one time: in all, and of one principal; and those that come from others. A slow
client holds the letter that is passed on to it, so they are half as many as may be worked on (`mail`)."""
_RESUME, _EVENTS = "stream/resume", "stream/events"
_FIND = 5.0
"""Seconds that the gateway of a stream has to say whether it has it."""
_TRIES = 3
_TAKEN = 40.0
"""Seconds that the other gateway has to pass a burst on; a client that reads nothing is cut before."""
_SILENCE = 40.0
"""Seconds without an event or a keep-alive after which it is looked whether the other gateway lives."""
_PART = 256 * 1024
_YES, _NO, _FULL = b"1", b"", b"0"


@dataclass(frozen=True, slots=True)
class Loan:
    """A stream that may be lent."""

    principal: str
    """The key of whose it is."""
    begin: Callable[[], Coroutine[None, None, None]]
    """Has it go to the writer from now on; to be run until it is over."""


Lend = Callable[[str, EventId, Writer], Loan | None]
"""Finds a stream of a session that is to go to a writer; None where there is none."""
May = Callable[[], Awaitable[bool]]


@dataclass(eq=False, slots=True)
class _Relay:
    """A client's connection here, to a stream there."""

    boot: str
    writer: Writer
    may: May
    heard: float
    over: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Letters are taken at once, and have to be passed on in their order."""


class _Far:
    """The writer of a stream here whose client is at another gateway."""

    def __init__(self, mail: Mail, boot: str, number: int) -> None:
        self._mail = mail
        self._boot = boot
        self._number = number

    def begin(self) -> None:
        """The other gateway has begun already."""

    async def send(self, data: bytes) -> bool:
        """Send events, and wait until they are written there."""
        try:
            for at in range(0, len(data), _PART):
                letter = msgspec.msgpack.encode((self._number, data[at : at + _PART], False))
                if await self._mail.request(self._boot, _EVENTS, letter, _TAKEN) != _YES:
                    return False
        except (GatewayUnreachable, StateError):
            return False
        return True

    def end(self, data: bytes = b"") -> None:
        """Send the last events, and the end."""
        parts = [data[at : at + _PART] for at in range(0, len(data), _PART)] or [b""]
        for part in parts:
            letter = msgspec.msgpack.encode((self._number, part, part is parts[-1]))
            self._mail.post(self._boot, _EVENTS, letter)


class Relays:
    """Follows streams of other gateways, and lends them this one's."""

    def __init__(self, mail: Mail) -> None:
        self.lend: Lend = _nothing
        self._mail = mail
        self._clock = asyncio.get_running_loop().time
        self._numbers = itertools.count(1)
        self._relays: dict[int, _Relay] = {}
        self._lent: dict[asyncio.Task[None], str] = {}
        """What runs of each that is lent, and whose it is."""
        mail.on(_RESUME, self._resume)
        mail.on(_EVENTS, self._take)

    async def follow(self, session: str, event: EventId, writer: Writer, may: May) -> bool:
        """Pass on a stream of another gateway until it is over. False, with nothing written, where there is none.

        Raises:
            StateRefused: that gateway lives and does not say whether it has it.
            StreamsFull: it has it, and lends as many as it may already; or so many are passed on here.
        """
        if len(self._relays) >= LENT:
            raise StreamsFull(f"{LENT} streams are passed on already, as many as may be; try again later")
        number = next(self._numbers)
        relay = self._relays[number] = _Relay(event.boot, writer, may, self._clock())
        try:
            asked = msgspec.msgpack.encode((session, event, number))
            if not await self._find(event.boot, asked):
                return False
            writer.begin()
            await self._wait(relay)
        finally:
            del self._relays[number]
        writer.end()  # where the other gateway is gone, the client comes back and is told so
        return True

    async def _find(self, boot: str, asked: bytes) -> bool:
        try:
            for _ in range(_TRIES):
                try:
                    found = await self._mail.request(boot, _RESUME, asked, _FIND)
                except GatewayUnreachable:
                    if not await self._mail.alive(boot):
                        return False
                    continue
                if found == _FULL:
                    raise StreamsFull(
                        "the gateway that has the stream lends too many already; try again later"
                    )
                return found == _YES
        except StateError as error:
            raise StateRefused(f"the stream cannot be looked for: {error}") from error
        raise StateRefused("the gateway that has the stream does not answer; try again")

    async def close(self) -> None:
        """Lend nothing any more."""
        for task in self._lent:
            task.cancel()
        if self._lent:
            await asyncio.wait(self._lent)

    async def _wait(self, relay: _Relay) -> None:
        while True:
            try:
                async with asyncio.timeout(_SILENCE):
                    await relay.over.wait()
                return
            except TimeoutError:
                if self._clock() - relay.heard < _SILENCE:
                    continue
                try:
                    if not await self._mail.alive(relay.boot):
                        return
                except StateError:
                    return

    async def _resume(self, sender: str, asked: bytes) -> bytes:
        """Lend a stream to the gateway that its client came back to."""
        session, event, number = msgspec.msgpack.decode(asked, type=tuple[str, EventId, int])
        loan = self.lend(session, event, _Far(self._mail, sender, number))
        if loan is None:
            return _NO
        if len(self._lent) >= LENT or sum(of == loan.principal for of in self._lent.values()) >= LENT_EACH:
            return _FULL
        task = asyncio.create_task(loan.begin(), name="stream lent")
        self._lent[task] = loan.principal
        task.add_done_callback(self._lent.pop)
        return _YES

    async def _take(self, sender: str, letter: bytes) -> bytes:
        """Pass on a burst of events. Tell whether the client is there still, and may read."""
        number, data, last = msgspec.msgpack.decode(letter, type=tuple[int, bytes, bool])
        relay = self._relays.get(number)
        if relay is None or relay.boot != sender:
            return _NO
        async with relay.turn:
            return _YES if await self._pass_on(relay, data, last=last) else _NO

    async def _pass_on(self, relay: _Relay, data: bytes, *, last: bool) -> bool:
        relay.heard = self._clock()
        if relay.over.is_set() or not await relay.may():
            relay.over.set()
            return False
        relay.writer.begin()  # it may come before the answer that it comes at all
        good = await relay.writer.send(data) if data else True
        if last or not good:
            relay.over.set()
        return good


def _nothing(session: str, event: EventId, writer: Writer) -> Loan | None:
    return None
