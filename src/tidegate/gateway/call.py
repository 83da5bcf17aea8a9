"""Call: one MCP request being handled, and Answer, what goes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Raw, Struct

from tidegate.access.rates import AtOnce
from tidegate.channels.channel import Notify
from tidegate.domain.errors import MethodNotFound, Refusal
from tidegate.domain.principal import Principal
from tidegate.domain.target import Target
from tidegate.fleet.losses import Asker
from tidegate.gateway.catalog import Endpoint
from tidegate.gateway.sessions import Session
from tidegate.ports.identity import Credentials, Vouched
from tidegate.protocol import capabilities, logs
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import Message, Object, decode_text, encode_error, error_object
from tidegate.protocol.inbound import Inbound


class Listener(Protocol):
    """Who takes what is for a session, and for no call of it."""

    def notify(self, session: str, method: str, params: Object) -> bool:
        """Take a notification. Tell whether the session hears it."""
        ...


class Call(Struct):
    """One request or notification. What is not known yet is filled in on its way."""

    id: str
    """Names the call in the record, the log and an error."""
    inbound: Inbound
    endpoint: Endpoint
    credentials: Credentials
    started: float
    """Loop time in seconds."""
    size: int = 0
    """Bytes of its body."""
    trace: str = ""
    """The client's `traceparent`."""
    notify: Notify | None = None
    say: Callable[[bytes], bool] | None = None
    """Sends a message on this call's own stream; False where the client takes none, or is gone."""
    task: asyncio.Task[None] | None = None
    """What handles it, for whoever may cancel it."""
    operator: Vouched | None = None
    """Set by a listener that itself vouches for who asks."""
    vouched: Vouched | None = None
    target: Target | None = None
    """What it is for, once that is found and where it is one thing."""
    session: Session | None = None
    offered: Offer | None = None
    later: Listener | None = None
    """Once it is over: who takes what its server still tells its session."""
    held: bool = False
    """Whether its upstream call stays open beyond it, and keeps its place."""
    parked: bool = False
    """Whether it was answered, and its upstream call waits for another request."""
    counted: Sequence[AtOnce] = ()
    """Where it counts as under way by quotas, until it is over or parked."""
    ended: Refusal | None = None
    """Why the gateway itself cancelled it, where it did."""

    method: str = ""
    """The method asked for; empty for a response."""
    params: Object = {}
    """Its parameters, without `_meta`."""

    def __post_init__(self) -> None:
        """Have at hand what is looked at again and again."""
        message = self.inbound.message
        self.method, self.params = message.method or "", message.params

    @property
    def principal(self) -> Principal:
        """Who asks. Only after authentication."""
        if self.vouched is None:
            raise RuntimeError("a call was used before it was authenticated")
        return self.vouched.principal

    @property
    def offer(self) -> Offer:
        """What this call's client lets servers ask of it."""
        if self.offered is None:
            session = self.session
            declared = self.inbound.capabilities
            self.offered = session.declared.offer if session else capabilities.read(declared)
        return self.offered

    @property
    def extensions(self) -> Object:
        """The extensions that this call's client declared."""
        declared = self.inbound.capabilities if self.session is None else self.session.capabilities
        return capabilities.extensions(declared)

    @property
    def log_level(self) -> str | None:
        """From which level on the client wants log messages of this call."""
        if self.session is None:
            return self.inbound.log_level
        level = self.session.data.get(LEVEL)
        return None if level is None else level.decode()

    def let_go(self) -> None:
        """Let go of what the client sent, and of the way to it, once it has its answer.

        What takes a server's late words knows the call, and lives as long as the server likes; a body is large.
        Idempotent.
        """
        if self.parked or self.size < LARGE:
            return
        inbound = self.inbound
        if inbound.capabilities and self.session is None and self.offered is None:
            self.offered = capabilities.read(inbound.capabilities)
        request_id = inbound.message.id
        if request_id is not None:
            request_id = request_id.copy()  # of a message's part it would keep the whole
        message = Message(self.method or None, request_id, {}, {})
        self.inbound = Inbound(
            message,
            inbound.modern,
            inbound.revision,
            inbound.session,
            inbound.client,
            {},
            inbound.log_level,
            {},
        )
        self.params, self.notify, self.say = {}, None, None

    def hear(self, method: str, params: Object) -> None:
        """Take a notification for this call's client, and pass on what it wants."""
        if self.ended is not None:
            return
        if self.later is not None and self.session is not None:
            if method != "notifications/message" or self._wants(params):
                self.later.notify(self.session.key, method, params)
            return
        if self.notify is None:
            return
        if method == "notifications/message" and not self._wants(params):
            return
        self.notify(method, params)

    def _wants(self, params: Object) -> bool:
        level = self.log_level
        if level is None:  # legacy: the server decides (2025-11-25, logging); modern: none (2026-07-28)
            return self.session is not None
        return logs.at_least(decode_text(params.get("level")), level)

    @property
    def holder(self) -> str:
        """Whose call it is where a server's question has to find its way: the session's, or its own."""
        return self.id if self.session is None else self.session.key

    @property
    def session_key(self) -> str:
        """The key of the session that calls, or nothing."""
        return "" if self.session is None else self.session.key

    @property
    def asker(self) -> Asker | None:
        """The session that calls, for those who have to know whether it lost something."""
        return None if self.session is None else self.session.asker

    @property
    def client(self) -> str:
        """`name version` of the client as it says."""
        return self.session.client if self.session else self.inbound.client


class Answer(Struct, frozen=True):
    """What goes back: an HTTP status, a JSON body, further headers."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    refusal: Refusal | None = None
    """What it says, for whoever has to tell how it can be helped."""


ACCEPTED = Answer(202)
"""For a notification or a response: nothing to say."""


def refused(refusal: Refusal, call_id: str, request_id: Raw | None, *, modern: bool) -> Answer:
    """Give the answer that a refusal is."""
    data: dict[str, object] = {"id": call_id, "reason": refusal.reason, **(refusal.data or {})}
    body = encode_error(request_id, error_object(refusal.code, str(refusal), data))
    status = refusal.status
    refusal.__traceback__ = None  # its frames hold all that the client sent
    if isinstance(refusal, MethodNotFound) and not modern:
        status = 200  # legacy transports know the status of the request as such only
    return Answer(status, body, refusal=refusal)


LARGE = 4096
"""Bytes of a body that is worth the trouble of letting go of it."""
LEVEL = "level"
"""Name under which a session keeps the level that its client set."""

Ids = Callable[[], str]
"""Gives ids that are never given twice."""
