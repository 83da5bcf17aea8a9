"""Conversation: both sides' messages on one pipe, matched to calls. No framing, no transport.

Ids and progress tokens carry an epoch, so that on a pipe that somebody else used before us no late
answer of theirs can be taken for one of ours. What matches nothing is dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

from tidegate.channels.channel import ChannelEvents, Outbound, Reply
from tidegate.channels.deadlines import Deadlines, Pauses
from tidegate.channels.inbox import LISTEN, Inbox, id_prefix, with_token
from tidegate.domain.errors import ChannelFailure, ChannelTimeout, UpstreamProtocolError
from tidegate.protocol.client import Dress, Inbound, answers, cancelled, decode_inbound, split_batch
from tidegate.protocol.codec import encode_notification


class Waiting(Struct, eq=False):
    """A request that waits for its answer."""

    conversation: Conversation
    ident: bytes
    outbound: Outbound
    future: asyncio.Future[Reply]
    deadline: float
    """On the loop's clock."""
    quiet: bool = False
    """Whether its end is not told to the server: a handshake must not be cancelled."""
    pauses: Pauses | None = None

    def expire(self) -> None:
        """Fail with `ChannelTimeout` and tell the server."""
        self.conversation.expired(self)


class Conversation:
    """Matches answers to calls and progress to clients, and answers what the server asks.

    `send` takes a whole message, best effort: it tells whether, and must not raise.
    """

    def __init__(self, epoch: str, events: ChannelEvents, send: Callable[[bytes], bool]) -> None:
        self.loop = asyncio.get_running_loop()
        self._waiting: dict[bytes, Waiting] = {}
        self.inbox = Inbox(events, send, self._waiting, self.loop.time)
        self._askers = self.inbox.askers
        self._prefix = id_prefix(epoch)
        self._count = 0
        self._deadlines = Deadlines(self.loop)

    @property
    def in_flight(self) -> int:
        """How many requests wait for an answer; a subscription waits for none."""
        return sum(1 for each in self._waiting.values() if each.outbound.method != LISTEN)

    def expect(self, outbound: Outbound, *, quiet: bool = False) -> Waiting:
        """Make an id for a request and wait for its answer from now on."""
        self._count += 1
        ident, loop = b'%b%d"' % (self._prefix, self._count), self.loop
        ends = loop.time() + outbound.timeout
        waiting = Waiting(self, ident, outbound, loop.create_future(), ends, quiet)
        self._waiting[ident] = waiting
        self._deadlines.add(waiting)
        if outbound.holder:
            self._askers.enter(outbound)
        return waiting

    def encode(self, waiting: Waiting, dress: Dress) -> bytes:
        """Encode a request, its progress token replaced by one of ours."""
        outbound = waiting.outbound
        told = dress.told(outbound.capabilities, outbound.log_level) if dress.modern else None
        meta = with_token(outbound, waiting.ident)
        return dress.request(waiting.ident, outbound.method, outbound.params, meta, told)

    def tell(self, outbound: Outbound) -> bool:
        """Send a client's notification; what the server asks next may be due to it."""
        self._count += 1
        if outbound.holder:
            self._askers.enter(outbound)
            self._askers.abandon(b"%d" % self._count, outbound)
        return self.inbox.say(encode_notification(outbound.method, outbound.params, outbound.meta))

    def forget(self, waiting: Waiting) -> bool:
        """Wait no longer. Tell whether the answer was still to come."""
        self._deadlines.discard(waiting)
        if self._waiting.pop(waiting.ident, None) is None:
            return False
        if waiting.outbound.holder:
            self._askers.leave(waiting.outbound)
        return True

    def abandon(self, waiting: Waiting, reason: str) -> None:
        """Wait no longer, and tell the server so where it still works on it."""
        if self.forget(waiting) and not waiting.quiet:
            if waiting.outbound.holder:
                self._askers.abandon(waiting.ident, waiting.outbound)
            self.inbox.say(cancelled(waiting.ident, reason))

    def expired(self, waiting: Waiting) -> None:
        """Fail a call whose deadline has passed, unless a person was waited for in the meantime."""
        if waiting.pauses is not None and (more := waiting.pauses.more(self.loop.time())):
            waiting.deadline += more
            self._deadlines.add(waiting)
            return
        self.abandon(waiting, "deadline passed")
        if not waiting.future.done():
            outbound = waiting.outbound
            text = f"no answer to {outbound.method} within {outbound.timeout:g} s"
            waiting.future.set_exception(ChannelTimeout(text))

    def fail(self, error: Callable[[], ChannelFailure]) -> None:
        """Fail every call that waits, each with an error of its own."""
        waiting = list(self._waiting.values())
        self._waiting.clear()
        self._deadlines.close()
        self.inbox.questions.close("the server is gone")
        for each in waiting:
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
        return (bool(taken) and len(taken) == len(batch) and all(taken)) or self.inbox.junk()

    def _take(self, message: Inbound) -> bool:
        if message.method is None:
            return self._answered(message)
        return self.inbox.take(message)

    def _answered(self, message: Inbound) -> bool:
        ident = bytes(message.id)
        waiting = self._waiting.pop(ident, None)
        if waiting is None:
            return self._unexpected(ident, message)
        self._deadlines.discard(waiting)
        outbound = waiting.outbound
        if outbound.holder:
            self._askers.leave(outbound)
        if "task" in outbound.params:
            self.inbox.answered(ident, outbound)
        future = waiting.future
        if future.done():  # cancelled in this turn of the loop
            self.inbox.dropped.late += 1
        elif not answers(message):
            text = f"answer to {outbound.method} holds neither a result nor an error"
            future.set_exception(UpstreamProtocolError(text))
        elif message.result:
            future.set_result(Reply(message.result, None))
        else:
            future.set_result(Reply(None, message.error))
        return True

    def _unexpected(self, ident: bytes, message: Inbound) -> bool:
        self.inbox.unasked += 1
        if not answers(message):
            return self.inbox.junk()
        number = ident[len(self._prefix) : -1]
        ours = ident.startswith(self._prefix) and number.isdigit() and len(number) < 20
        if ours and 0 < int(number) <= self._count:
            self.inbox.dropped.late += 1
            self._askers.late(ident)
        else:
            self.inbox.dropped.unknown += 1
        return True
