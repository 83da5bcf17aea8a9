"""Task ids in messages: found and replaced, in both designs. All other values stay the bytes they were.

The extension `io.modelcontextprotocol/tasks` (ext-tasks, specification/draft/tasks) and the experimental tasks of
2025-11-25 (basic/utilities/tasks). Knows nothing of what an id becomes, or of who may have it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Raw

from tidegate.domain.errors import ParseFailure
from tidegate.protocol.codec import Object, decode_object, decode_text, encode

EXTENSION = "io.modelcontextprotocol/tasks"
RELATED = "io.modelcontextprotocol/related-task"
"""Key in the `_meta` of whatever belongs to a task of 2025-11-25."""
LONGEST = 256
"""Characters of a server's task id that are taken: handles made of them stand in headers."""
TERMINAL = frozenset({"completed", "failed", "cancelled"})
MODERN_METHODS = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
LEGACY_METHODS = frozenset({"tasks/get", "tasks/result", "tasks/cancel"})
"""Those about one task."""
NOTICES = frozenset({"notifications/tasks", "notifications/tasks/status"})
REQUIRED: dict[str, object] = {"extensions": {EXTENSION: {}}}
"""`data.requiredCapabilities` where the extension is needed and was not declared."""

Rename = Callable[[str], str | None]
"""Gives what a task id becomes; None where it is to be left out."""

_STATES = frozenset({"tasks/get", "tasks/cancel"})
"""Methods whose result is the state of a task."""


def declared(capabilities: Object) -> bool:
    """Tell whether capabilities, a client's or a server's, hold the extension."""
    extensions = _object(capabilities.get("extensions"))
    return extensions is not None and EXTENSION in extensions


def without(capabilities: Object) -> Object:
    """Give capabilities without the extension."""
    extensions = _object(capabilities.get("extensions"))
    if extensions is None or EXTENSION not in extensions:
        return capabilities
    rest = {name: value for name, value in extensions.items() if name != EXTENSION}
    return {**capabilities, "extensions": Raw(encode(rest))}


def augmented(params: Object) -> bool:
    """Tell whether a request asks to be a task (2025-11-25)."""
    return bytes(params.get("task", b"null")) != b"null"


def named(params: Object) -> str | None:
    """Give the task that a request or notification names."""
    return decode_text(params.get("taskId"))


def is_task(result: Object) -> bool:
    """Tell whether a result says that the request became a task of the extension."""
    return decode_text(result.get("resultType")) == "task"


def created(result: Object) -> str | None:
    """Give the id of the task that a `tools/call` became; None where it became none, `""` where it has no id."""
    if is_task(result):
        return named(result) or ""
    task = _object(result.get("task"))
    return None if task is None else named(task) or ""


def state(fields: Object) -> tuple[str, float | None]:
    """Give the status of a task and the seconds it is kept (None: for ever, or not said).

    `fields` is a result or notification of either design.
    """
    task = _object(fields.get("task"))
    found = fields if task is None else task
    status = decode_text(found.get("status")) or ""
    raw = found.get("ttlMs", found.get("ttl"))
    try:
        milliseconds = None if raw is None else msgspec.json.decode(raw, type=float | None)
    except msgspec.DecodeError:
        milliseconds = None
    return status, None if milliseconds is None else max(0.0, milliseconds / 1000)


def concerned(method: str, result: Object) -> bool:
    """Tell whether the result of a request may name a task: a quick look that saves the thorough one."""
    return method.startswith("tasks/") or "task" in result or "_meta" in result or is_task(result)


def in_result(method: str, result: Raw, rename: Rename, inlined: Callable[[Raw], Raw] | None = None) -> Raw:
    """Rename the task ids in the result of a request.

    `inlined` is done to the tool's result that a `tasks/get` of the extension carries. A result that is no
    object is left to the client to judge.
    """
    try:
        fields = decode_object(result)
    except ParseFailure:
        return result
    changed = _state(fields, rename, inlined) if method in _STATES else dict[str, Raw]()
    if method == "tools/call":
        changed |= _creation(fields, rename)
    changed |= _related(fields, rename)
    return Raw(encode({**fields, **changed})) if changed else result


def in_params(
    method: str, params: Object, rename: Rename, inlined: Callable[[Raw], Raw] | None = None
) -> Object:
    """Rename the task ids in what a server sends by itself: a notification, or a question."""
    changed = _state(params, rename, inlined) if method in NOTICES else dict[str, Raw]()
    changed |= _related(params, rename)
    return {**params, **changed} if changed else params


def related(meta: Object, rename: Rename) -> Object:
    """Rename the id in a `_meta`, or leave the key out where it names no task that there is."""
    if RELATED not in meta:
        return meta
    task = _object(meta[RELATED])
    changed = {} if task is None else _own(task, rename)
    if task is None or not changed:
        return {key: value for key, value in meta.items() if key != RELATED}
    return {**meta, RELATED: Raw(encode({**task, **changed}))}


def _state(fields: Object, rename: Rename, inlined: Callable[[Raw], Raw] | None) -> Object:
    changed = _own(fields, rename)
    raw = fields.get("result")
    if raw is None:
        return changed
    after = inlined(raw) if inlined is not None else raw
    result = _object(after)
    belonging = {} if result is None else _related(result, rename)
    if result is not None and belonging:
        after = Raw(encode({**result, **belonging}))
    if after is not raw:
        changed["result"] = after
    return changed


def _creation(fields: Object, rename: Rename) -> Object:
    if is_task(fields):
        return _own(fields, rename)
    task = _object(fields.get("task"))
    changed = {} if task is None else _own(task, rename)
    return {"task": Raw(encode({**task, **changed}))} if task is not None and changed else {}


def _own(fields: Object, rename: Rename) -> Object:
    before = named(fields)
    after = None if before is None else rename(before)
    return {} if after is None else {"taskId": Raw(encode(after))}


def _related(fields: Object, rename: Rename) -> Object:
    meta = _object(fields.get("_meta"))
    if meta is None or RELATED not in meta:
        return {}
    return {"_meta": Raw(encode(related(meta, rename)))}


def _object(value: Raw | None) -> Object | None:
    if value is None:
        return None
    try:
        return decode_object(value)
    except ParseFailure:
        return None
