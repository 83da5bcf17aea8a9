"""Replies: what a server answered, as this client gets it, and what the record says of it."""

from __future__ import annotations

from msgspec import Raw, Struct

from tidegate.channels.channel import Reply
from tidegate.domain.errors import CallFailed
from tidegate.domain.record import Outcome
from tidegate.gateway.call import Answer, Call
from tidegate.gateway.rounds import Rounds
from tidegate.gateway.routes import Route
from tidegate.gateway.tasks import Origin, Tasks
from tidegate.protocol import bridge
from tidegate.protocol.codec import decode_text, encode_error, encode_result, error_object

_MODERN_STATUS = {-32601: 404, -32020: 400, -32021: 400, -32022: 400}
"""HTTP status of errors that a modern client looks for there."""


class Read(Struct):
    """An answer, and its outcome, code and size for the record."""

    answer: Answer
    outcome: Outcome
    code: int | None
    size: int


class Where(Struct, frozen=True):
    """Which workload gave a reply, and the era it speaks."""

    sharing: str
    workload: str
    era: str


class Replies:
    """Reads replies."""

    def __init__(self, rounds: Rounds, tasks: Tasks) -> None:
        self._rounds = rounds
        self._tasks = tasks

    def read(self, call: Call, route: Route, reply: Reply, where: Where) -> Read:
        """Read a reply.

        Raises:
            Refusal: this client cannot have it.
            UpstreamProtocolError: it is not as it must be.
        """
        if reply.result is not None:
            return self._result(call, route, reply.result, where)
        modern = call.inbound.modern
        error = reply.error or Raw(
            error_object(-32603, "the server answered neither with a result nor an error")
        )
        code = bridge.error_code(error)
        if modern and where.era == "legacy":
            asked = self._rounds.visit(call, route, error)
            if asked is not None:
                return self.asking(call, asked)
        uri = decode_text(call.params.get("uri")) if call.method == "resources/read" else None
        error, code = bridge.error_for(error, code, modern_client=modern, uri=uri)
        status = _MODERN_STATUS.get(code, 200) if modern else 200
        body = encode_error(call.inbound.message.id, error)
        return Read(Answer(status, body), Outcome.ERROR, code, len(error))

    def asking(self, call: Call, result: Raw) -> Read:
        """Give a result that asks a modern client for input."""
        return self._done(call, result, Outcome.INPUT_REQUIRED)

    def _result(self, call: Call, route: Route, result: Raw, where: Where) -> Read:
        modern = call.inbound.modern
        kind = bridge.ResultKind(result)
        if kind.type == "input_required" and kind.fields is not None and modern and where.era == "modern":
            return self.asking(call, self._rounds.relay(call, route, kind.fields))
        renaming = call.endpoint.renaming(route.server)
        if (
            kind.type == "task"
            or route.handle is not None
            or "task" in call.params
            or (kind.fields is not None and b"related-task" in bytes(kind.fields.get("_meta", b"")))
        ):
            tool = route.entry.target.name
            origin = Origin(route.server, where.sharing, where.workload, tool)
            result = self._tasks.out(call, origin, result, None if renaming.plain else renaming.result)
            kind = bridge.ResultKind(result)
        elif kind.type != "complete":
            raise CallFailed(
                f"server {route.server} answered {kind.type[:40]!r}, which is no kind of result here"
            )
        if not renaming.plain and route.handle is None:
            renamed = renaming.result(result)
            if renamed is not result:
                result, kind = renamed, bridge.ResultKind(renamed)
        body = bridge.result_for(result, kind, modern_client=modern, method=call.method)
        return self._done(call, body, Outcome.TOOL_ERROR if kind.is_error else Outcome.OK)

    def _done(self, call: Call, result: bytes | Raw, outcome: Outcome) -> Read:
        body = encode_result(call.inbound.message.id or b"null", result)
        return Read(Answer(200, body), outcome, None, len(result))
