"""Call: one MCP request being handled, and Answer, what goes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Raw, Struct

from tidegate.channels.channel import Notify
from tidegate.domain.errors import MethodNotFound, Refusal
from tidegate.domain.principal import Principal
from tidegate.fleet.losses import Asker
from tidegate.gateway.catalog import Endpoint
from tidegate.gateway.sessions import Session
from tidegate.ports.identity import Credentials, Vouched
from tidegate.protocol.codec import Object, encode_error, error_object
from tidegate.protocol.inbound import Inbound


class Call(Struct):
    """One request or notification. What is not known yet is filled in on its way."""

    id: str
    """Names the call in the record, the log and an error."""
    inbound: Inbound
    endpoint: Endpoint
    credentials: Credentials
    started: float
    """Loop time in seconds."""
    trace: str = ""
    """The client's `traceparent`."""
    notify: Notify | None = None
    task: asyncio.Task[None] | None = None
    """What handles it, for whoever may cancel it."""
    operator: Vouched | None = None
    """Set by a listener that itself vouches for who asks."""
    vouched: Vouched | None = None
    session: Session | None = None

    @property
    def method(self) -> str:
        """The method asked for."""
        return self.inbound.message.method or ""

    @property
    def params(self) -> Object:
        """Its parameters, without `_meta`."""
        return self.inbound.message.params

    @property
    def principal(self) -> Principal:
        """Who asks. Only after authentication."""
        if self.vouched is None:
            raise RuntimeError("a call was used before it was authenticated")
        return self.vouched.principal

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


ACCEPTED = Answer(202)
"""For a notification or a response: nothing to say."""


def refused(refusal: Refusal, call_id: str, request_id: Raw | None, *, modern: bool) -> Answer:
    """Give the answer that a refusal is."""
    data: dict[str, object] = {"id": call_id, "reason": refusal.reason, **(refusal.data or {})}
    body = encode_error(request_id, error_object(refusal.code, str(refusal), data))
    status = refusal.status
    if isinstance(refusal, MethodNotFound) and not modern:
        status = 200  # legacy transports know the status of the request as such only
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if status == 401:
        headers = ((b"www-authenticate", b'Bearer realm="tidegate"'),)
    return Answer(status, body, headers)


Ids = Callable[[], str]
"""Gives ids that are never given twice."""
