"""`subscriptions/listen` without I/O: what is asked for, and the messages of such a stream.

MCP 2026-07-28, basic/patterns/subscriptions; task ids: ext-tasks, Task Status Notifications.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from tidegate.domain.errors import InvalidParams, ParseFailure
from tidegate.domain.target import Kind
from tidegate.protocol.codec import Object, decode_object, encode, encode_notification

UPDATED = "notifications/resources/updated"
ID = "io.modelcontextprotocol/subscriptionId"
"""Key in the `_meta` of every message of such a stream: the id of the request that opened it."""
MOST = 256
"""Resources, and tasks, that one stream may name."""
LONGEST = 4096
"""Characters of a URI or handle."""

CHANGED = {
    Kind.TOOL: "notifications/tools/list_changed",
    Kind.PROMPT: "notifications/prompts/list_changed",
    Kind.RESOURCE: "notifications/resources/list_changed",
    Kind.TEMPLATE: "notifications/resources/list_changed",
}
"""What tells that a list of a kind changed; templates belong to the resources."""

_LISTS = {
    "toolsListChanged": "tools", "promptsListChanged": "prompts", "resourcesListChanged": "resources",
}  # fmt: skip
"""By key of a filter: the capability that the list belongs to."""


class Filter(msgspec.Struct, frozen=True):
    """What a stream tells of."""

    lists: frozenset[str] = frozenset()
    """Of `tools`, `prompts`, `resources`: whose lists."""
    uris: tuple[str, ...] = ()
    tasks: tuple[str, ...] | None = None
    """Task ids; None where the extension was not spoken of."""

    def covers(self, method: str) -> bool:
        """Tell whether a change of a list is to be told."""
        return method.split("/")[1] in self.lists


def read(params: Object) -> Filter:
    """Read the filter of a request.

    Raises:
        InvalidParams: it has none, or one that is not as it must be, or too large.
    """
    try:
        wanted = decode_object(params.get("notifications", Raw(b"")))
    except ParseFailure as error:
        raise InvalidParams("notifications must be an object") from error
    lists = frozenset(name for key, name in _LISTS.items() if _flag(wanted, key))
    tasks = _texts(wanted, "taskIds") if "taskIds" in wanted else None
    return Filter(lists, _texts(wanted, "resourceSubscriptions"), tasks)


def acknowledged(request_id: Raw, honoured: Filter) -> bytes:
    """Encode the first message of a stream: what of the filter is honoured."""
    found: dict[str, object] = {key: True for key, name in _LISTS.items() if name in honoured.lists}
    if honoured.uris:
        found["resourceSubscriptions"] = honoured.uris
    if honoured.tasks:
        found["taskIds"] = honoured.tasks
    params = {"notifications": Raw(encode(found))}
    return encode_notification("notifications/subscriptions/acknowledged", params, {ID: request_id})


def stamped(request_id: Raw, method: str, params: Object) -> bytes:
    """Encode a notification of a stream."""
    rest, meta = _parted(params)
    return encode_notification(method, rest, {**meta, ID: request_id})


def unstamped(params: Object) -> Object:
    """Give a notification's params without the mark of the stream that it came by."""
    rest, meta = _parted(params)
    if ID not in meta:
        return params
    meta = {key: value for key, value in meta.items() if key != ID}
    return {**rest, "_meta": Raw(encode(meta))} if meta else rest


def closed(request_id: Raw) -> bytes:
    """Encode the result that ends a stream in order."""
    return encode({"resultType": "complete", "_meta": {ID: request_id}})


def _parted(params: Object) -> tuple[Object, Object]:
    raw = params.get("_meta")
    if raw is None:
        return params, {}
    rest = {key: value for key, value in params.items() if key != "_meta"}
    try:
        return rest, decode_object(raw)
    except ParseFailure:
        return rest, {}


def _flag(wanted: Object, key: str) -> bool:
    raw = bytes(wanted.get(key, b"false"))
    if raw not in (b"true", b"false"):
        raise InvalidParams(f"{key} must be true or false")
    return raw == b"true"


def _texts(wanted: Object, key: str) -> tuple[str, ...]:
    try:
        found = msgspec.json.decode(wanted.get(key, Raw(b"[]")), type=list[str])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidParams(f"{key} must be a list of strings") from error
    if len(found) > MOST or any(len(each) > LONGEST for each in found):
        raise InvalidParams(f"{key} has more than {MOST} entries, or one longer than {LONGEST} characters")
    return tuple(dict.fromkeys(found))
