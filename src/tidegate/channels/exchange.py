"""HttpCall: one JSON-RPC request over Streamable HTTP, and what its response makes of it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from tidegate.channels.channel import Outbound, Reply
from tidegate.channels.deadlines import Pauses
from tidegate.channels.http.messages import HttpResponse
from tidegate.channels.inbox import Inbox
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelFailure,
    SessionForgotten,
    UpstreamProtocolError,
    UpstreamRefused,
)
from tidegate.protocol import revisions
from tidegate.protocol.client import (
    Inbound,
    answers,
    decode_inbound,
    header_line,
    mirror_headers,
    split_batch,
)
from tidegate.protocol.codec import one_line
from tidegate.protocol.sse import Event

_MOST_MIRRORS = 1024
"""Encoded header lines that are kept; tools are called again and again."""
_LARGEST_SESSION = 1024
"""Characters of a session id that are taken."""
_CREDENTIALS = frozenset({401, 403, 407})
"""Statuses that tell of credentials, whatever the body says."""


class HttpCall(Struct, eq=False):
    """A request and its answer, from a JSON body or from events."""

    inbox: Inbox
    ident: bytes
    outbound: Outbound
    reply: Reply | None = None
    error: ChannelFailure | None = None
    heard: int = 0
    """How many events came for it."""
    pauses: Pauses | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more is waited for."""
        return self.reply is not None or self.error is not None

    @property
    def put_off(self) -> float:
        """By how many seconds its deadline was put off so far."""
        return 0.0 if self.pauses is None else self.pauses.granted

    def more(self, now: float) -> float:
        """Give by how many seconds its deadline, which has passed, is put off."""
        return 0.0 if self.pauses is None else self.pauses.more(now)

    def take_event(self, event: Event) -> bool:
        """Take an event of the answer's stream. Tell whether it settled the call."""
        self.heard += 1
        if event.data and event.event == "message":
            self._take(event.data)
        return self.settled

    def settle(self, response: HttpResponse, where: str, *, session: bool) -> Reply:
        """Give the reply, now that the response is whole. `session`: whether the request had one.

        Raises:
            ChannelFailure: there is none, and why.
        """
        if self.reply is None and self.error is None:
            self._read(response, where, session)
        if self.error is not None:
            raise self.error
        if self.reply is None:
            raise UpstreamProtocolError(f"{where} sent no answer to {self.outbound.method}")
        return self.reply

    def _read(self, response: HttpResponse, where: str, session: bool) -> None:
        status, method = response.status, self.outbound.method
        kind = response.headers.get(b"content-type", b"")
        json = kind == b"application/json"
        if not json:
            kind = response.content_type()
            json = kind == b"application/json" or kind.endswith(b"+json")
        if response.streamed:
            self.error = ChannelClosed(f"{where} ended its stream before the answer to {method}")
        elif 200 <= status < 300:
            if json and response.body:
                self._take(response.body)
            else:
                said = kind.decode("latin-1")[:64] if response.body else "no body"
                text = f"{where} answered {method} with status {status} and {said!r}"
                self.error = UpstreamProtocolError(text)
        elif status == 404 and session:
            self.error = SessionForgotten(f"{where} no longer knows the session")
        elif status >= 400 and status not in _CREDENTIALS and json and self._refused(response.body):
            pass
        elif 300 <= status < 400:
            text = f"{where} redirects {method} elsewhere (status {status}), which is not followed"
            self.error = UpstreamRefused(text, status=status)
        else:
            self.error = UpstreamRefused(f"{where} answered {method} with status {status}", status=status)

    def _refused(self, body: bytes) -> bool:
        """Take a JSON-RPC error out of an HTTP error. It is for us whatever its id: some have none."""
        message = decode_inbound(one_line(body))
        if message is None or message.method is not None or message.result or not answers(message):
            return False
        self.reply = Reply(None, message.error)
        return True

    def _take(self, data: bytes) -> None:
        data = one_line(data)
        message = decode_inbound(data)
        if message is not None:
            self._message(message)
            return
        batch = split_batch(data) if data[:1] == b"[" else []
        if not batch:
            self.inbox.junk()
        for each in batch:
            single = decode_inbound(each)
            if single is None:
                self.inbox.junk()
            elif not self.settled:
                self._message(single)

    def _message(self, message: Inbound) -> None:
        if message.method is not None:
            self.inbox.take(message, self)
        elif bytes(message.id) != self.ident:
            self.error = UpstreamProtocolError(f"answer to {self.outbound.method} has another request's id")
        elif not answers(message):
            text = f"answer to {self.outbound.method} holds neither a result nor an error"
            self.error = UpstreamProtocolError(text)
        elif message.result:
            self.reply = Reply(message.result, None)
        else:
            self.reply = Reply(None, message.error)


class RequestHeaders:
    """Header lines of every request of a channel, encoded once.

    `fixed` are the header lines that settings add, secrets among them. Without a revision there is no
    `MCP-Protocol-Version`, as for `initialize`.
    """

    __slots__ = ("_get", "_mirrors", "_post", "modern", "session")

    def __init__(self, fixed: bytes, revision: str | None = None, session: str | None = None) -> None:
        if revision is not None:
            fixed += header_line("MCP-Protocol-Version", revision.encode("ascii"))
        if session is not None:
            fixed += header_line("Mcp-Session-Id", session.encode("ascii"))
        self.session = session
        self.modern = revision == revisions.MODERN
        self._post = (
            fixed + b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        )
        self._get = fixed + b"Accept: text/event-stream\r\n"
        self._mirrors: dict[tuple[str, str | None], bytes] = {}

    def post(self, method: str, name: str | None = None, mirrored: Mapping[str, str] | None = None) -> bytes:
        """Give the header lines of a POST."""
        if not self.modern:
            return self._post
        if mirrored:
            return self._post + mirror_headers(method, name, mirrored)
        lines = self._mirrors.get((method, name))
        if lines is None:
            if len(self._mirrors) >= _MOST_MIRRORS:
                self._mirrors.clear()
            lines = self._mirrors[method, name] = self._post + mirror_headers(method, name, {})
        return lines

    def get(self, last_id: str | None = None) -> bytes:
        """Give the header lines of a GET or DELETE.

        Raises:
            ValueError: the event id cannot stand in a header.
        """
        if last_id is None:
            return self._get
        return self._get + header_line("Last-Event-ID", last_id.encode("utf-8"))


def read_session(response: HttpResponse) -> str | None:
    """Give the session id that came with the answer to `initialize`.

    Raises:
        UpstreamProtocolError: it is not of visible ASCII (2025-11-25, transports), or too long.
    """
    value = response.headers.get(b"mcp-session-id")
    if value is None:
        return None
    if not 0 < len(value) <= _LARGEST_SESSION or any(not 0x21 <= byte <= 0x7E for byte in value):
        raise UpstreamProtocolError("server gave a session id that cannot be one")
    return value.decode("ascii")
