"""Inbox: what a server sends of its own accord, requests and notifications. No transport, no answers.

Requests that nobody takes are refused; progress reaches the call it belongs to, under the client's own
token, and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Raw

from tidegate.channels.channel import ChannelEvents, Outbound, Reply
from tidegate.domain.errors import ParseFailure
from tidegate.protocol.client import Inbound
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


def id_prefix(epoch: str) -> bytes:
    """Give what every id of an epoch begins with, as JSON.

    Raises:
        ValueError: the epoch is not of letters and digits.
    """
    if not epoch.isascii() or not epoch.isalnum():
        raise ValueError("an epoch is of letters and digits")
    return b'"%b-' % epoch.encode("ascii")


def with_token(outbound: Outbound, ident: bytes) -> Object:
    """Give a request's `_meta` with the progress token replaced by its id; without, if nobody listens."""
    meta = outbound.meta
    if "progressToken" in meta:
        meta = {**meta, "progressToken": Raw(ident)}
        if outbound.notify is None:
            del meta["progressToken"]
    return meta


class Inbox:
    """Takes a server's requests and notifications.

    `say` sends a whole message, best effort: it tells whether, and must not raise. `find` gives the
    request that an id of ours stands for.
    """

    def __init__(
        self,
        events: ChannelEvents,
        requests: ServerRequests,
        say: Callable[[bytes], bool],
        find: Callable[[bytes], Outbound | None],
    ) -> None:
        self.dropped = Dropped()
        self._events = events
        self._requests = requests
        self._send = say
        self._find = find

    def say(self, data: bytes) -> bool:
        """Send what no call waits for. Tell whether it went out."""
        sent = self._send(data)
        if not sent:
            self.dropped.unsent += 1
        return sent

    def junk(self) -> bool:
        """Count what is no message."""
        self.dropped.junk += 1
        return False

    def take(self, message: Inbound, belongs: Outbound | None = None) -> bool:
        """Take a request or a notification. Tell whether it is one.

        `belongs` is the request on whose own stream it came: its log messages are that call's.
        """
        method = message.method
        if method is None:
            return self.junk()
        if message.id:
            return self._requested(method, message)
        return self._notified(method, message, belongs)

    def _requested(self, method: str, message: Inbound) -> bool:
        ident = bytes(message.id)
        if len(ident) > _LARGEST_ID:
            return self.junk()
        if method == "ping":
            self.say(encode_result(ident, b"{}"))
            return True
        params = _params(message)
        if params is None:
            return self.junk()
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

    def _notified(self, method: str, message: Inbound, belongs: Outbound | None) -> bool:
        params = _params(message)
        if params is None:
            return self.junk()
        if method != "notifications/progress":
            if method == "notifications/message" and belongs is not None and belongs.notify is not None:
                belongs.notify(method, params)
            else:
                self._events.channel_notified(method, params)
            return True
        outbound = self._find(bytes(params.get("progressToken", b"")))
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
