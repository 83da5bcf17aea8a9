"""Routes: which target a request is for, and what the request becomes in its server's own names.

One table of the methods that reach servers. Nothing is sent here and nobody is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from msgspec import Raw, Struct

from tidegate.domain.errors import InvalidParams, MethodNotFound, ParseFailure
from tidegate.domain.target import Decision, Kind, Target
from tidegate.gateway.call import Call
from tidegate.gateway.tasks import Handle, Tasks
from tidegate.gateway.view import Entry
from tidegate.protocol import mirrors
from tidegate.protocol.codec import Object, decode_object, decode_text, encode

_NOTHING = Raw(b"{}")
_USUAL_PARAMS = frozenset({"name", "arguments"})
_LONGEST = 128
"""Characters of a method."""
_CORE = (
    "tools/", "prompts/", "completion/", "tasks/", "logging/", "notifications/", "subscriptions/", "server/",
    "roots/", "sampling/", "elicitation/", "resources/templates/",
)  # fmt: skip
_USUAL = re.compile(r"[a-z0-9][a-z0-9._$-]*(?:/[a-z0-9][a-z0-9._$-]*)+")
"""How a method is written that no reader takes for another (`/tools/call`, `resources/./read`, `tools /call`)."""
_RESOURCES = frozenset({"list", "read", "subscribe", "unsubscribe"})
"""MCP's own below `resources/`; an extension has further ones (SEP-2640: `resources/directory/read`)."""


@lru_cache(maxsize=4096)
def _named(name: str) -> Raw:
    return Raw(encode(name))


def _is_core(method: str) -> bool:
    """Tell whether a method is one of MCP itself, or could be taken for one: it is then no extension's."""
    plain = method.lower()
    first, _, rest = plain.partition("/")
    return (
        plain.startswith(_CORE)
        or (first == "resources" and rest in _RESOURCES)
        or not _USUAL.fullmatch(plain)
    )


class Route(Struct):
    """Where a request goes, and as what."""

    entry: Entry
    decision: Decision
    params: Object
    """In the server's own names, without `_meta`."""
    server: str
    """The server it is for."""
    name: str | None = None
    """What a modern HTTP upstream wants mirrored as `Mcp-Name`."""
    recorded: bytes = b"{}"
    """What the record keeps a digest of."""
    asked: bytes | None = None
    """The same as it came, where it goes out as it was judged: a retry has to bring it so again."""
    mirrored: Mapping[str, str] | None = None
    """What a modern HTTP upstream wants mirrored as `Mcp-Param-*`."""
    handle: Handle | None = None
    """The task that it is about."""
    ordinary: bool = False
    """Whether it calls a tool with arguments and nothing else: it is no task's and no retry."""
    answered_by: tuple[str, str] | None = None
    """Sharing key and id of the workload that answered, where it is not the one that was asked first."""


class Routes:
    """Finds routes."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._find: Mapping[str, Callable[[Call], Route]] = {
            "tools/call": _tool,
            "prompts/get": _prompt,
            "resources/read": _resource,
            "completion/complete": _completion,
            "tasks/get": self._task,
            "tasks/update": self._task,
            "tasks/cancel": self._task,
            "tasks/result": self._task,
        }

    def find(self, call: Call) -> Route:
        """Find the route of a request. What its principal may not have looks as if it were not there.

        Raises:
            Undecided: whether its principal may have it has to be decided first.
            InvalidParams: it names nothing that there is.
            MethodNotFound: no server has such a method.
            HeaderMismatch: a mirrored argument differs from its header.
        """
        find = self._find.get(call.method)
        return _extension(call) if find is None else find(call)

    def _task(self, call: Call) -> Route:
        handle = self._tasks.open(call)
        target = handle.target
        decision = call.endpoint.authorizer.decide(call.principal, target)
        params = {**call.params, "taskId": Raw(encode(handle.task))}
        return Route(
            Entry(handle.tool, target, b""), decision, params, handle.server, handle.task, handle=handle
        )


def _resolve(call: Call, kind: Kind, name: Raw | None) -> tuple[Entry, Decision]:
    endpoint, shown = call.endpoint, decode_text(name) or ""
    if not endpoint.varies:
        return endpoint.resolve(call.principal, kind, shown)
    return endpoint.resolve(call.principal, kind, shown, session=call.session_key, offer=call.offer)


def _tool(call: Call) -> Route:
    params = call.params
    shown = params.get("name")
    found = call.endpoint.tool(call.principal, decode_text(shown) or "")
    entry, decision = found or _resolve(call, Kind.TOOL, shown)
    target = entry.target
    name = target.name
    arguments = params.get("arguments", _NOTHING)
    route = Route(entry, decision, {**params, "name": _named(name)}, target.server, name, bytes(arguments))
    route.ordinary = params.keys() <= _USUAL_PARAMS
    if call.inbound.modern:
        headers = call.inbound.headers
        route.mirrored = mirrors.others(entry.mirrors, headers)
        if entry.mirrors:
            mirrors.check(entry.mirrors, arguments, headers)
    if entry.mirrors:
        route.mirrored = {**(route.mirrored or {}), **mirrors.values(entry.mirrors, arguments)}
    return route


def _prompt(call: Call) -> Route:
    params = call.params
    entry, decision = _resolve(call, Kind.PROMPT, params.get("name"))
    name = entry.target.name
    recorded = bytes(params.get("arguments", _NOTHING))
    return Route(entry, decision, {**params, "name": _named(name)}, entry.target.server, name, recorded)


def _resource(call: Call) -> Route:
    params = call.params
    entry, decision = _resolve(call, Kind.RESOURCE, params.get("uri"))
    uri = entry.target.name
    return Route(entry, decision, {**params, "uri": Raw(encode(uri))}, entry.target.server, uri)


def _completion(call: Call) -> Route:
    params = call.params
    try:
        ref = decode_object(params.get("ref", _NOTHING))
    except ParseFailure as error:
        raise InvalidParams("ref must be an object") from error
    kind = decode_text(ref.get("type"))
    if kind == "ref/prompt":
        key = "name"
        entry, decision = _resolve(call, Kind.PROMPT, ref.get("name"))
    elif kind == "ref/resource":
        key = "uri"
        entry, decision = _resolve(call, Kind.TEMPLATE, ref.get("uri"))
    else:
        raise InvalidParams("ref.type must be ref/prompt or ref/resource")
    named = {**ref, key: Raw(encode(entry.target.name))}
    recorded = bytes(params.get("argument", _NOTHING))
    params = {**params, "ref": Raw(encode(named))}
    return Route(entry, decision, params, entry.target.server, None, recorded)


def _extension(call: Call) -> Route:
    """Find the one server that has an extension which this client has too: its methods are its own.

    What they come to is known to the server only, so there are none where just some of its things are chosen.
    """
    server = None
    chosen = call.endpoint.spec.tools or call.endpoint.spec.prompts or call.endpoint.spec.resources
    if not chosen and len(call.method) <= _LONGEST and not _is_core(call.method):
        server = call.endpoint.extension_server(call.principal, call.extensions)
    if server is None:
        raise MethodNotFound(f"no method {call.method[:60]!r} here")
    target = Target(server, Kind.EXTENSION, call.method)
    decision = call.endpoint.authorizer.decide(call.principal, target)
    if not decision.allowed:
        raise MethodNotFound(f"no method {call.method[:60]!r} here", target=target, decision=decision)
    entry = Entry(call.method, target, b"")
    return Route(entry, decision, call.params, server, None, encode(call.params))
