"""Replies: what a server answered, as this client gets it, and what the record says of it."""

from __future__ import annotations

from msgspec import Raw, Struct

from tidegate.channels.channel import Reply
from tidegate.domain.errors import CallFailed
from tidegate.domain.record import Outcome
from tidegate.fleet.pool import Lease
from tidegate.gateway.call import Answer, Call
from tidegate.gateway.parked import Asking
from tidegate.gateway.rounds import Rounds
from tidegate.gateway.routes import Route
from tidegate.gateway.tasks import Origin, Tasks
from tidegate.protocol import bridge
from tidegate.protocol.codec import decode_text, encode_error, encode_result, error_object
from tidegate.protocol.renaming import may_name

_MODERN_STATUS = {-32601: 404, -32020: 400, -32021: 400, -32022: 400}
"""HTTP status of errors that a modern client looks for there."""
_OK, _TOOL_ERROR = Outcome.OK, Outcome.TOOL_ERROR


class Read(Struct):
    """An answer, and its outcome, code and size for the record."""

    answer: Answer
    outcome: Outcome
    code: int | None
    size: int


class Replies:
    """Reads replies."""

    def __init__(self, rounds: Rounds, tasks: Tasks) -> None:
        self._rounds = rounds
        self._tasks = tasks

    def read(self, call: Call, route: Route, reply: Reply | Asking, lease: Lease | None) -> Read:
        """Read a reply. `lease`: the place that it came from; None where another gateway has that.

        Raises:
            Refusal: this client cannot have it.
            UpstreamProtocolError: it is not as it must be.
        """
        if isinstance(reply, Asking):
            return _done(call, reply.result, Outcome.INPUT_REQUIRED)
        result, modern = reply.result, call.inbound.modern
        if result is None:
            return self._error(call, route, reply, lease)
        kind = bridge.ResultKind(result)
        fields = kind.fields
        renaming = call.endpoint.renamings[route.server]
        if (  # nearly always: a tool's answer, and nothing in it but the answer
            fields is not None
            and route.ordinary
            and kind.type == "complete"
            and "_meta" not in fields
            and (renaming.plain or not may_name(bytes(result)))
        ):
            data = result
            if ("resultType" in fields) != modern:
                data = bridge.with_type(fields) if modern else bridge.without_type(fields)
            answer = Answer(200, encode_result(call.inbound.message.id or b"null", data))
            return Read(answer, _TOOL_ERROR if kind.is_error else _OK, None, len(data))
        if (
            kind.type != "complete"
            or route.handle is not None
            or "task" in call.params
            or (fields is not None and "_meta" in fields and b"related-task" in bytes(fields["_meta"]))
        ):
            if kind.type == "input_required" and modern and _is_modern(lease):
                asked = self._rounds.relay(call, route, kind.fields or {})
                return _done(call, asked, Outcome.INPUT_REQUIRED)
            result = self._of_task(call, route, kind, result, lease)
            kind = bridge.ResultKind(result)
        data = bytes(result)
        if not renaming.plain and route.handle is None and may_name(data):
            renamed = renaming.result(result)
            if renamed is not result:
                result, data, kind = renamed, bytes(renamed), bridge.ResultKind(renamed)
                fields = kind.fields
        if fields is None or ("resultType" in fields) != modern or call.method == "resources/read":
            data = bytes(bridge.result_for(result, kind, modern_client=modern, method=call.method))
        answer = Answer(200, encode_result(call.inbound.message.id or b"null", data))
        return Read(answer, _TOOL_ERROR if kind.is_error else _OK, None, len(data))

    def _error(self, call: Call, route: Route, reply: Reply, lease: Lease | None) -> Read:
        modern = call.inbound.modern
        error = reply.error or Raw(
            error_object(-32603, "the server answered neither with a result nor an error")
        )
        code = bridge.error_code(error)
        if modern and not _is_modern(lease):
            asked = self._rounds.visit(call, route, error)
            if asked is not None:
                return _done(call, asked, Outcome.INPUT_REQUIRED)
        uri = decode_text(call.params.get("uri")) if call.method == "resources/read" else None
        error, code = bridge.error_for(error, code, modern_client=modern, uri=uri)
        status = _MODERN_STATUS.get(code, 200) if modern else 200
        body = encode_error(call.inbound.message.id, error)
        return Read(Answer(status, body), Outcome.ERROR, code, len(error))

    def _of_task(
        self, call: Call, route: Route, kind: bridge.ResultKind, result: Raw, lease: Lease | None
    ) -> Raw:
        """Give what a server said of a task, with the handle that this client knows it by."""
        if kind.type not in ("complete", "task"):
            raise CallFailed(
                f"server {route.server} answered {kind.type[:40]!r}, which is no kind of result here"
            )
        sharing, identity = "", ""
        if route.answered_by is not None:
            sharing, identity = route.answered_by
        elif lease is not None:
            sharing, identity = lease.workload.sharing, lease.workload.identity.id
        origin = Origin(route.server, sharing, identity, route.entry.target.name)
        renaming = call.endpoint.renaming(route.server)
        return self._tasks.out(call, origin, result, None if renaming.plain else renaming.result)


def _is_modern(lease: Lease | None) -> bool:
    """Tell the era of the server. Only calls to legacy ones wait at another gateway."""
    return lease is not None and lease.channel.upstream.era == "modern"


def _done(call: Call, result: bytes | Raw, outcome: Outcome) -> Read:
    body = encode_result(call.inbound.message.id or b"null", result)
    return Read(Answer(200, body), outcome, None, len(result))
