"""What tasks ask of their clients (`inputRequests`): a task is no higher-trust channel than a call.

So each question is checked against what the client declared, recorded, and says who asks, as any other. A client
sees it with every poll; it is recorded once. ext-tasks, Security Considerations.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from msgspec import Raw

from tidegate.domain.errors import ParseFailure, UpstreamProtocolError
from tidegate.gateway.call import Call
from tidegate.gateway.inquiries import check, dressed
from tidegate.protocol import rounds
from tidegate.protocol.codec import Object, decode_object, encode

Admit = Callable[[Call, str, str, Object], None]
"""Checks and records a question of a server (method, params) before it goes to a call's client; or raises."""

_TASKS, _EACH = 10_000, 256
"""Tasks whose questions are remembered, and questions of each."""


def _check(call: Call, server: str, method: str, params: Object) -> None:
    check(call, method, params)


class TaskQuestions:
    """Passes them on."""

    def __init__(self) -> None:
        self.admit: Admit = _check
        self._asked: OrderedDict[tuple[str, ...], set[str]] = OrderedDict()

    def passed(self, call: Call, place: tuple[str, ...], fields: Object) -> Object:
        """Give the state of a task with its questions as this client gets them. `place` begins with the server.

        Raises:
            MissingCapability: it asks for what the client did not declare with this request.
            UpstreamProtocolError: it asks in no way that is one.
            JournalUnavailable: a question cannot be recorded.
        """
        if not _asks(fields):
            return fields
        asked = self._asked.setdefault((*place, call.principal.key, call.endpoint.path), set())
        self._asked.move_to_end((*place, call.principal.key, call.endpoint.path))
        if len(self._asked) > _TASKS:
            self._asked.popitem(last=False)
        found: dict[str, object] = {}
        for key, each in rounds.read(fields).items():
            if key in asked:
                check(call, each.method, each.params)
            else:
                self.admit(call, place[0], each.method, each.params)
                if len(asked) < _EACH:
                    asked.add(key)
            found[key] = {"method": each.method, "params": dressed(place[0], each.params)}
        return {**fields, "inputRequests": Raw(encode(found))}


def _asks(fields: Object) -> bool:
    if "inputRequests" not in fields:
        return False
    try:
        return bool(decode_object(fields["inputRequests"]))
    except ParseFailure as error:
        raise UpstreamProtocolError("a task asks for input in a form that is none") from error
