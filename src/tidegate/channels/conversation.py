"""Conversation: both sides' messages on one pipe, matched to calls. No framing, no transport.

Ids and progress tokens carry an epoch, so that on a pipe that somebody else used before us no late
answer of theirs can be taken for one of ours. What matches nothing is dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Raw

from tidegate.channels.channel import ChannelEvents, Outbound, Reply
from tidegate.channels.deadlines import Deadlines
from tidegate.domain.errors import ChannelFailure, ChannelTimeout, ParseFailure, UpstreamProtocolError
from tidegate.protocol.client import Dress, Inbound, answers, cancelled, decode_inbound, split_batch
from tidegate.protocol.codec import Object, decode_object, encode_error, encode_result, error_object

_LARGEST_ID = 256
"""Bytes of a server's request id that are echoed."""

Answer = Callable[[Reply], None]
"""Answers a server's request, now or later, once."""

ServerRequests = Callable[[str, Object, Answer], bool]
"""Takes a server's request (method, params, how to answer), or says False: not taken, to be refused.
Called on the loop's thread; must not block or raise. `ping` never comes here."""


def refuse(method: str, params: Object, answer: Answer) -> bool:
    """Take no request: for a channel that offered the server nothing."""
    return False


@dataclass(slots=True)
class Dropped:
    """How many messages came that were good for nothing."""

    junk: int = 0
    """Not JSON, or not JSON-RPC."""
    late: int = 0
    """Answers to a call of ours that no longer waits, or answered twice."""
    unknown: int = 0
    """Answers to calls we never made, those of another epoch among them."""
    progress: int = 0
    """Progress that nobody asked for, or no longer."""
    requests: int = 0
    """Requests of the server that were refused."""
    unsent: int = 0
    """Messages of ours that nobody waits for, not sent since the other side does not read."""


class Waiting:
    """A request that waits for its answer."""

    __slots__ = ("conversation", "deadline", "future", "ident", "outbound", "quiet")

    def __init__(self, conversation: Conversation, ident: bytes, outbound: Outbound, quiet: bool) -> None:
        self.conversation = conversation
        self.ident = ident
        self.outbound = outbound
        self.quiet = quiet
        """Whether its end is not told to the server: a handshake must not be cancelled."""
        self.future: asyncio.Future[Reply] = conversation.loop.create_future()
        self.deadline = conversation.loop.time() + outbound.timeout

    def expire(self) -> None:
        """Fail with `ChannelTimeout` and tell the server."""
        self.conversation.expired(self)


class Conversation:
    """Matches answers to calls and progress to clients, and answers what the server asks.

    `send` takes a whole message, best effort: it may drop it, and must not raise.
    """

    def __init__(
        self, epoch: str, events: ChannelEvents, requests: ServerRequests, send: Callable[[bytes], bool]
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.dropped = Dropped()
        self._prefix = b'"%b-' % epoch.encode("ascii")
        self._events = events
        self._requests = requests
        self._send = send
        self._count = 0
        self._waiting: dict[bytes, Waiting] = {}
        self._deadlines = Deadlines(self.loop)

    @property
    def in_flight(self) -> int:
        """How many requests wait for an answer."""
        return len(self._waiting)

    def expect(self, outbound: Outbound, *, quiet: bool = False) -> Waiting:
        """Make an id for a request and wait for its answer from now on."""
        self._count += 1
        waiting = Waiting(self, b'%b%d"' % (self._prefix, self._count), outbound, quiet)
        self._waiting[waiting.ident] = waiting
        self._deadlines.add(waiting)
        return waiting

    def encode(self, waiting: Waiting, dress: Dress) -> bytes:
        """Encode a request, its progress token replaced by one of ours."""
        outbound = waiting.outbound
        meta = outbound.meta
        if "progressToken" in meta:
            meta = {**meta, "progressToken": Raw(waiting.ident)}
            if outbound.notify is None:
                del meta["progressToken"]
        return dress.request(waiting.ident, outbound.method, outbound.params, meta)

    def forget(self, waiting: Waiting) -> bool:
        """Wait no longer. Tell whether the answer was still to come."""
        self._deadlines.discard(waiting)
        return self._waiting.pop(waiting.ident, None) is not None

    def abandon(self, waiting: Waiting, reason: str) -> None:
        """Wait no longer, and tell the server so where it still works on it."""
        if self.forget(waiting) and not waiting.quiet:
            self.say(cancelled(waiting.ident, reason))

    def expired(self, waiting: Waiting) -> None:
        """Fail a call whose deadline has passed."""
        self.abandon(waiting, "deadline passed")
        if not waiting.future.done():
            outbound = waiting.outbound
            text = f"no answer to {outbound.method} within {outbound.timeout:g} s"
            waiting.future.set_exception(ChannelTimeout(text))

    def say(self, data: bytes) -> bool:
        """Send what no call waits for. Tell whether it went out."""
        sent = self._send(data)
        if not sent:
            self.dropped.unsent += 1
        return sent

    def fail(self, error: Callable[[], ChannelFailure]) -> None:
        """Fail every call that waits, each with an error of its own."""
        waiting, self._waiting = self._waiting, {}
        self._deadlines.close()
        for each in waiting.values():
            if not each.future.done():
                each.future.set_exception(error())

    def receive(self, data: bytes) -> bool:
        """Take a message. Tell whether it is one."""
        message = decode_inbound(data)
        if message is not None:
            return self._take(message)
        batch = split_batch(data) if data[:1] == b"[" else []
        single = [decode_inbound(each) for each in batch]
        taken = [self._take(each) for each in single if each is not None]
        return (bool(taken) and len(taken) == len(batch) and all(taken)) or self._is_junk()

    def _take(self, message: Inbound) -> bool:
        if message.method is None:
            return self._answered(message)
        if message.id:
            return self._requested(message.method, message)
        return self._notified(message.method, message)

    def _is_junk(self) -> bool:
        self.dropped.junk += 1
        return False

    def _answered(self, message: Inbound) -> bool:
        ident = bytes(message.id)
        waiting = self._waiting.pop(ident, None)
        if waiting is None:
            return self._unexpected(ident, message)
        self._deadlines.discard(waiting)
        future = waiting.future
        if future.done():  # cancelled in this turn of the loop
            self.dropped.late += 1
        elif not answers(message):
            text = f"answer to {waiting.outbound.method} holds neither a result nor an error"
            future.set_exception(UpstreamProtocolError(text))
        elif message.result:
            future.set_result(Reply(message.result, None))
        else:
            future.set_result(Reply(None, message.error))
        return True

    def _unexpected(self, ident: bytes, message: Inbound) -> bool:
        if not answers(message):
            return self._is_junk()
        number = ident[len(self._prefix) : -1]
        ours = ident.startswith(self._prefix) and number.isdigit() and len(number) < 20
        if ours and 0 < int(number) <= self._count:
            self.dropped.late += 1
        else:
            self.dropped.unknown += 1
        return True

    def _requested(self, method: str, message: Inbound) -> bool:
        ident = bytes(message.id)
        if len(ident) > _LARGEST_ID:
            return self._is_junk()
        if method == "ping":
            self.say(encode_result(ident, b"{}"))
            return True
        params = _params(message)
        if params is None:
            return self._is_junk()
        answered = False

        def answer(reply: Reply) -> None:
            nonlocal answered
            if not answered:
                answered = True
                self.say(_encode_reply(ident, reply))

        if not self._requests(method, params, answer):
            self.dropped.requests += 1
            text = f"{method[:64]} was not offered by this client"
            self.say(encode_error(ident, error_object(-32601, text)))
        return True

    def _notified(self, method: str, message: Inbound) -> bool:
        params = _params(message)
        if params is None:
            return self._is_junk()
        if method != "notifications/progress":
            self._events.channel_notified(method, params)
            return True
        waiting = self._waiting.get(bytes(params.get("progressToken", b"")))
        outbound = None if waiting is None else waiting.outbound
        if outbound is None or outbound.notify is None or "progressToken" not in outbound.meta:
            self.dropped.progress += 1
            return True
        outbound.notify(method, {**params, "progressToken": outbound.meta["progressToken"]})
        return True


def _params(message: Inbound) -> Object | None:
    if not message.params:
        return {}
    try:
        return decode_object(message.params)
    except ParseFailure:
        return None


def _encode_reply(ident: bytes, reply: Reply) -> bytes:
    if reply.result is not None:
        return encode_result(ident, reply.result)
    return encode_error(ident, reply.error or error_object(-32603, "no answer"))
