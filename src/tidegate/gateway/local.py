"""Answers the gateway gives itself: `initialize`, `server/discover`, lists, `ping`, notifications.

Nothing here reaches a server.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Raw

from tidegate import __version__
from tidegate.audit.journal import Journal
from tidegate.domain.errors import InvalidParams, MethodNotFound, ParseFailure
from tidegate.gateway.call import Answer, Call
from tidegate.gateway.catalog import PAGE
from tidegate.gateway.sessions import Sessions
from tidegate.protocol import revisions
from tidegate.protocol.codec import decode_object, decode_text, encode, encode_result
from tidegate.protocol.inbound import client_name
from tidegate.telemetry import Metrics

_SERVER_INFO = {"name": "tidegate", "title": "tidegate MCP gateway", "version": __version__}
_CAPABILITIES: dict[str, object] = {"tools": {}}


class LocalAnswers:
    """Answers requests without an upstream, and records them."""

    def __init__(self, sessions: Sessions, journal: Journal, metrics: Metrics) -> None:
        self._sessions = sessions
        self._journal = journal
        self._metrics = metrics
        self._methods: dict[str, Callable[[Call], Answer]] = {
            "initialize": self._initialize,
            "ping": self._ping,
            "server/discover": self._discover,
            "tools/list": self._list_tools,
        }

    def answer(self, call: Call) -> Answer:
        """Answer a request.

        Raises:
            MethodNotFound: the gateway has no such method in the client's era.
            InvalidParams: its parameters do not fit.
            JournalUnavailable: it cannot be recorded.
        """
        method = self._methods.get(call.method)
        if method is None or (call.method == "server/discover") > call.inbound.modern:
            raise MethodNotFound(f"no method {call.method[:60]!r} here")
        answer = method(call)
        self._metrics.requests[call.method] += 1
        if call.method != "ping":  # it says nothing that the next request would not
            self._journal.request(call.principal, _fields(call))
        return answer

    def _initialize(self, call: Call) -> Answer:
        params = call.params
        revision = revisions.negotiate(decode_text(params.get("protocolVersion")) or "")
        client = client_name(params.get("clientInfo"))
        capabilities = params.get("capabilities", Raw(b"{}"))
        try:
            decode_object(capabilities)
        except ParseFailure as error:
            raise InvalidParams("capabilities must be an object") from error
        session = self._sessions.create(
            call.principal, call.endpoint.path, revision, client, bytes(capabilities)
        )
        result: dict[str, object] = {
            "protocolVersion": revision,
            "capabilities": _CAPABILITIES,
            "serverInfo": _SERVER_INFO,
            **_instructions(call),
        }
        return _result(call, encode(result), ((b"mcp-session-id", session.encode()),))

    def _discover(self, call: Call) -> Answer:
        result: dict[str, object] = {
            "resultType": "complete",
            "supportedVersions": [revisions.MODERN],
            "capabilities": _CAPABILITIES,
            **_instructions(call),
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": {revisions.META_SERVER: _SERVER_INFO},
        }
        return _result(call, encode(result))

    def _ping(self, call: Call) -> Answer:
        return _result(call, b"{}")

    def _list_tools(self, call: Call) -> Answer:
        raw = call.params.get("cursor")
        offset = 0
        if raw is not None and bytes(raw) != b"null":
            offset = _offset(decode_text(raw))
        listed = call.endpoint.list_tools(call.principal, offset, modern=call.inbound.modern)
        return _result(call, listed)


def _offset(cursor: str | None) -> int:
    if cursor is None or not cursor.startswith("t") or not cursor[1:].isdecimal() or len(cursor) > 10:
        raise InvalidParams("cursor is not one that was given")
    offset = int(cursor[1:])
    if offset % PAGE:  # encoded pages are kept, so there must not be one for every number
        raise InvalidParams("cursor is not one that was given")
    return offset


def _instructions(call: Call) -> dict[str, object]:
    found = call.endpoint.instructions(call.principal)
    return {} if found is None else {"instructions": found}


def _result(call: Call, result: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    request_id = call.inbound.message.id
    return Answer(200, encode_result(request_id or b"null", result), headers)


def _fields(call: Call) -> dict[str, object]:
    return {
        "call": call.id,
        "method": call.method,
        "endpoint": call.endpoint.path,
        "client": call.client or client_name(call.params.get("clientInfo")),
        "credential": call.vouched.credential if call.vouched else "",
        "peer": call.credentials.peer,
    }
