"""Inbox: what a server sends of its own accord, requests and notifications. No transport, no answers.

Requests that nobody takes are refused; progress reaches the call it belongs to, under the client's own
token, and no other; a log message only the one it can be for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec import Raw

from tidegate.channels.askers import Askers, Flying
from tidegate.channels.channel import ChannelEvents, Notify, Outbound
from tidegate.channels.questions import Questions
from tidegate.domain.errors import ParseFailure
from tidegate.protocol.client import Inbound
from tidegate.protocol.codec import Object, decode_object, encode, encode_error, encode_result

LISTEN = "subscriptions/listen"
_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
_TASKS = 256
"""Requests that became tasks, and whose progress is still passed on."""
_LARGEST_ID = 256
"""Bytes of a server's request id that are echoed."""
_PERSONAL = frozenset({"notifications/message", "notifications/elicitation/complete"})
"""Notifications that are for whoever caused them, and for nobody else."""


@dataclass(slots=True)
class Dropped:
    """How many messages came that were good for nothing."""

    junk: int = 0
    """Not JSON, or not JSON-RPC."""
    late: int = 0
    """Answers to a call of ours that no longer waits, or answered twice."""
    unknown: int = 0
    """Answers to calls, or what is told of subscriptions, that we never made; those of another epoch too."""
    progress: int = 0
    """Progress that nobody asked for, or no longer."""
    requests: int = 0
    """Requests of the server that were refused."""
    contended: int = 0
    """Of these, those that could have been for more than one holder."""
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

    `say` sends a whole message, best effort: it tells whether, and must not raise. `flying` are the requests
    in flight by their ids; `now` gives seconds.
    """

    def __init__(
        self,
        events: ChannelEvents,
        say: Callable[[bytes], bool],
        flying: Mapping[bytes, Flying],
        now: Callable[[], float],
    ) -> None:
        self.dropped = Dropped()
        self.askers = Askers(flying, events.channel_callers, now)
        self.questions = Questions(events, self.askers, self.say, flying.values, now)
        self.unasked = 0
        """Messages since somebody looked that are no answers to a call that waits."""
        self.modern = False
        """Whether the server is modern: then it asks nothing, and logs only where it was asked to."""
        self._events = events
        self._send = say
        self._flying = flying
        self._tasks: OrderedDict[bytes, Outbound] = OrderedDict()
        """Requests that became tasks: their progress goes on after their answer."""

    def answered(self, ident: bytes, outbound: Outbound) -> None:
        """Learn that a request that asked to be a task was answered (2025-11-25, basic/utilities/progress)."""
        if "progressToken" in outbound.meta and outbound.notify is not None:
            # Copied, and alone: a part of a message would keep the whole of it, which can be large.
            token = {"progressToken": outbound.meta["progressToken"].copy()}
            self._tasks[ident] = Outbound(outbound.method, {}, token, notify=outbound.notify)
            if len(self._tasks) > _TASKS:
                self._tasks.popitem(last=False)

    def settled(self, *, modern: bool) -> None:
        """Learn the server's era. A legacy one may ask from now on."""
        self.modern, self.questions.allowed = modern, not modern

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

    def take(self, message: Inbound, belongs: Flying | None = None) -> bool:
        """Take a request or a notification. Tell whether it is one.

        `belongs` is the request on whose own stream it came: what is for one client only is that one's.
        """
        method = message.method
        self.unasked += 1
        if method is None:
            return self.junk()
        if message.id:
            return self._requested(method, message, belongs)
        return self._notified(method, message, belongs)

    def _requested(self, method: str, message: Inbound, belongs: Flying | None) -> bool:
        ident = bytes(message.id)
        if len(ident) > _LARGEST_ID:
            return self.junk()
        if self.modern:  # it is to ask in results only, and gets no response (2026-07-28, stdio)
            self.dropped.requests += 1
            return True
        if method == "ping":
            self.say(encode_result(ident, b"{}"))
            return True
        params = _params(message)
        if params is None or ident in self.questions:  # an answer to either would be taken for one to both
            return self.junk()
        refusal = self.questions.ask(ident, method, params, belongs)
        if refusal is not None:
            self.dropped.requests += 1
            self.dropped.contended = self.questions.contended
            self.say(encode_error(ident, refusal))
        return True

    def _notified(self, method: str, message: Inbound, belongs: Flying | None) -> bool:
        params = _params(message)
        if params is None:
            return self.junk()
        if method == "notifications/progress":
            self._progressed(params)
        elif method in _PERSONAL:
            notify = self._whose(belongs)
            if notify is None:
                self._events.channel_notified(method, params)
            else:
                notify(method, params)
        elif method == "notifications/cancelled":
            if not self.questions.cancelled(params):
                self.dropped.unknown += 1
        elif not self.modern or "_meta" not in params or not self._told(method, params, belongs):
            self._events.channel_notified(method, params)
        return True

    def _progressed(self, params: Object) -> None:
        ident = bytes(params.get("progressToken", b""))
        call = self._flying.get(ident)
        outbound = self._tasks.get(ident) if call is None else call.outbound
        if outbound is None or outbound.notify is None or "progressToken" not in outbound.meta:
            self.dropped.progress += 1
            return
        outbound.notify("notifications/progress", {**params, "progressToken": outbound.meta["progressToken"]})

    def _whose(self, belongs: Flying | None) -> Notify | None:
        """Give who is to hear what is for one client only; None where that cannot be told."""
        if belongs is not None:
            outbound = belongs.outbound
            return None if self.modern and outbound.log_level is None else outbound.notify
        found = self.askers.loggers() if self.modern else self.askers.candidates()
        return found[0].notify if len(found) == 1 else None

    def _told(self, method: str, params: Object, belongs: Flying | None) -> bool:
        """Take what a subscription brings. Tell whether it names one."""
        try:
            meta = decode_object(params["_meta"])
        except ParseFailure:
            return False
        ident = meta.pop(_SUBSCRIPTION, None)
        if ident is None:
            return False
        call = self._flying.get(bytes(ident))
        outbound = None if call is None or belongs not in (None, call) else call.outbound
        if outbound is None or outbound.method != LISTEN or outbound.notify is None:
            self.dropped.unknown += 1
            return True
        rest = {key: value for key, value in params.items() if key != "_meta"}
        outbound.notify(method, {**rest, "_meta": Raw(encode(meta))} if meta else rest)
        return True


def _params(message: Inbound) -> Object | None:
    if not message.params:
        return {}
    try:
        return decode_object(message.params)
    except ParseFailure:
        return None
