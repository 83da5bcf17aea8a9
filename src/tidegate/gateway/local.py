"""Answers the gateway gives itself: `initialize`, `server/discover`, lists, `ping`, levels, subscriptions.

Nothing here calls a server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from msgspec import Raw

from tidegate import __version__
from tidegate.audit.journal import Journal
from tidegate.domain.errors import InvalidParams, MethodNotFound, ParseFailure
from tidegate.domain.target import Kind
from tidegate.gateway import deciding
from tidegate.gateway.call import LEVEL, Answer, Call
from tidegate.gateway.sessions import Sessions
from tidegate.protocol import revisions
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import decode_object, decode_text, encode, encode_result
from tidegate.protocol.inbound import client_name
from tidegate.protocol.logs import LEVELS
from tidegate.telemetry import Metrics

_SERVER_INFO = {"name": "tidegate", "title": "tidegate MCP gateway", "version": __version__}
_LISTS = {
    "tools/list": Kind.TOOL,
    "prompts/list": Kind.PROMPT,
    "resources/list": Kind.RESOURCE,
    "resources/templates/list": Kind.TEMPLATE,
}
_SETTLE = 1.5
"""Seconds to wait for what is just being read of a server that was never seen before."""
_MODERN_ONLY = frozenset({"server/discover", "subscriptions/listen"})

Method = Callable[[Call], Awaitable[Answer]]


class LocalAnswers:
    """Answers requests without calling an upstream, and records them."""

    def __init__(
        self,
        sessions: Sessions,
        journal: Journal,
        metrics: Metrics,
        further: Mapping[str, Method] | None = None,
    ) -> None:
        """`further`: methods that other parts of the gateway answer. They are recorded before they are."""
        self._further = further or {}
        self._sessions = sessions
        self._journal = journal
        self._metrics = metrics
        self.methods: Mapping[str, Method] = {
            "initialize": self._initialize,
            "ping": self._ping,
            "server/discover": self._discover,
            "logging/setLevel": self._set_level,
            **dict.fromkeys(_LISTS, self._list),
            **self._further,
        }

    async def answer(self, call: Call) -> Answer:
        """Answer a request of `methods`.

        Raises:
            MethodNotFound: the gateway has no such method in the client's era.
            InvalidParams: its parameters do not fit.
            JournalUnavailable: it cannot be recorded.
        """
        if call.method in _MODERN_ONLY and not call.inbound.modern:
            raise MethodNotFound(f"no method {call.method[:60]!r} here")
        self._metrics.requests[call.method] += 1
        if call.method in self._further:  # these reach servers, or go on for hours
            self._journal.request(call.principal, _fields(call))
            return await self._further[call.method](call)
        answer = await self.methods[call.method](call)
        if call.method != "ping":  # it says nothing that the next request would not
            self._journal.request(call.principal, _fields(call))
        return answer

    async def _initialize(self, call: Call) -> Answer:
        params = call.params
        revision = revisions.negotiate(decode_text(params.get("protocolVersion")) or "")
        client = client_name(params.get("clientInfo"))
        capabilities = params.get("capabilities", Raw(b"{}"))
        try:
            decode_object(capabilities)
        except ParseFailure as error:
            raise InvalidParams("capabilities must be an object") from error
        await call.endpoint.settled(Offer.NONE, _SETTLE)
        told = await _told(call, modern=False)
        session = self._sessions.create(
            call.principal, call.endpoint.path, revision, client, bytes(capabilities)
        )
        result: dict[str, object] = {
            "protocolVersion": revision,
            "capabilities": told.pop("capabilities"),
            "serverInfo": _SERVER_INFO,
            **told,
        }
        return _result(call, encode(result), ((b"mcp-session-id", session.encode()),))

    async def _discover(self, call: Call) -> Answer:
        await call.endpoint.settled(Offer.NONE, _SETTLE)
        told = await _told(call, modern=True)
        result: dict[str, object] = {
            "resultType": "complete",
            "supportedVersions": [revisions.MODERN],
            **told,
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": {revisions.META_SERVER: _SERVER_INFO},
        }
        return _result(call, encode(result))

    async def _ping(self, call: Call) -> Answer:
        return _result(call, b"{}")

    async def _set_level(self, call: Call) -> Answer:
        if call.session is not None:  # a modern client says it with each request
            level = decode_text(call.params.get("level"))
            if level not in LEVELS:
                raise InvalidParams(f"level must be one of {', '.join(LEVELS)}")
            await self._sessions.remember(call.session, LEVEL, level.encode())
        return _result(call, b"{}")

    async def _list(self, call: Call) -> Answer:
        raw = call.params.get("cursor")
        cursor = None if raw is None or bytes(raw) == b"null" else decode_text(raw) or ""
        kind, modern = _LISTS[call.method], call.inbound.modern
        await call.endpoint.settled(call.offer, _SETTLE)
        endpoint, principal, offer, session = call.endpoint, call.principal, call.offer, call.session_key
        await endpoint.prepare(principal, kind, offer=offer, session=session)
        listed = await deciding.made(
            lambda: endpoint.list(kind, principal, cursor, modern=modern, offer=offer, session=session)
        )
        return _result(call, listed)


async def _told(call: Call, *, modern: bool) -> dict[str, object]:
    """Give what a client is told of the endpoint: its capabilities, and instructions where there are any."""
    endpoint, principal = call.endpoint, call.principal

    def make() -> dict[str, object]:
        capabilities, said = endpoint.capabilities(principal, modern=modern), endpoint.instructions(principal)
        return {"capabilities": capabilities, **({} if said is None else {"instructions": said})}

    await endpoint.prepare(principal)
    return await deciding.made(make)


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
