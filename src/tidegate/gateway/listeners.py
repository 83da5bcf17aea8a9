"""Listeners: modern clients' `subscriptions/listen` streams, from the request to its end.

MCP 2026-07-28, basic/patterns/subscriptions. What is told to whom is decided in `subscriptions`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

from msgspec import Raw

from tidegate.domain.errors import Draining, NotAcceptable, Overloaded
from tidegate.domain.principal import Principal
from tidegate.gateway.call import Call
from tidegate.gateway.endpoint import Endpoint
from tidegate.protocol import subscriptions
from tidegate.protocol.codec import Object, encode, encode_result
from tidegate.protocol.subscriptions import Filter

EACH, IN_ALL = 16, 2000
"""Streams of one principal, and of all."""
_EARLY = 256
"""Messages that wait for the acknowledgement, which must be the first."""


class Listener:
    """One stream."""

    def __init__(self, call: Call) -> None:
        if call.say is None:
            raise NotAcceptable(
                "subscriptions/listen is answered with text/event-stream, which must be accepted"
            )
        self.call = call
        self.honoured = Filter()
        self.ended = False
        self._say = call.say
        self._id = call.inbound.message.id or Raw(b"null")
        self._early: list[bytes] | None = []
        self._woken = asyncio.Event()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return self.call.endpoint

    @property
    def principal(self) -> Principal:
        """Who listens, as vouched for last."""
        return self.call.principal

    def tell(self, method: str, params: Object) -> None:
        """Pass on what happened; before the acknowledgement it waits."""
        message = subscriptions.stamped(self._id, method, params)
        if self._early is None:
            self._send(message)
        elif len(self._early) < _EARLY:
            self._early.append(message)

    def acknowledge(self, honoured: Filter) -> None:
        """Send the first message, and what waited for it."""
        early, self._early = self._early or [], None
        self.honoured = honoured
        for message in (subscriptions.acknowledged(self._id, honoured), *early):
            self._send(message)

    def wake(self, *, end: bool = False) -> None:
        """Have it looked at again, or ended."""
        self.ended = self.ended or end
        self._woken.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until it is woken, at most so long. Tell whether it was."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    def result(self) -> bytes:
        """Say that it is over, and give the response that ends it in order (basic/patterns/cancellation)."""
        over = {"requestId": self._id, "reason": Raw(encode("ended by the gateway"))}
        self._say(subscriptions.stamped(self._id, "notifications/cancelled", over))
        return encode_result(self._id, subscriptions.closed(self._id))

    def _send(self, message: bytes) -> None:
        if not self.ended and not self._say(message):
            self.wake(end=True)


class Listeners:
    """All streams that are open."""

    def __init__(self) -> None:
        self._open: set[Listener] = set()
        self._of: defaultdict[str, int] = defaultdict(int)
        self._draining = False

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def place(self, call: Call) -> Generator[Listener]:
        """Give a place to one more stream, for as long as it lasts.

        Raises:
            Overloaded: there are as many as may be.
            NotAcceptable: the client takes no stream.
            Draining: the gateway is stopping.
        """
        owner = call.principal.key
        if self._draining:
            raise Draining("the gateway is stopping")
        if self._of[owner] >= EACH or len(self._open) >= IN_ALL:
            if not self._of[owner]:
                del self._of[owner]
            raise Overloaded(f"{EACH} streams of yours, or {IN_ALL} of all, are open already")
        self._of[owner] += 1
        try:
            listener = Listener(call)
            self._open.add(listener)
            try:
                yield listener
            finally:
                listener.ended = True
                self._open.discard(listener)
        finally:
            self._of[owner] -= 1
            if not self._of[owner]:
                del self._of[owner]

    def at(self, endpoint: str) -> Iterable[Listener]:
        """Give those of an endpoint."""
        return [listener for listener in self._open if listener.endpoint.path == endpoint]

    def end(self, concerned: Callable[[Listener], object]) -> None:
        """End some in order."""
        for listener in self._open:
            if concerned(listener):
                listener.wake(end=True)

    def leave(self, endpoint: str) -> None:
        """End those of an endpoint in order."""
        for listener in self.at(endpoint):
            listener.wake(end=True)

    def drain(self) -> None:
        """End all in order, and take no more."""
        self._draining = True
        for listener in self._open:
            listener.wake(end=True)
