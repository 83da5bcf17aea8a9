"""Renaming of URIs: what a prefixed endpoint shows, and the way back. MCP's URIs stay URIs.

`scheme://rest` becomes `scheme://server__rest`, `scheme:rest` becomes `scheme:server__rest`; a server's
name holds no underscore, so the first `__` parts the two and no index is needed to read it back. What a
client may fetch or decode by itself (`http:`, `https:`, `data:`) and what has no scheme stays as it is.
In results only the levels that may hold a URI are decoded; all else is passed on byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping

import msgspec
from msgspec import Raw

from tidegate.domain.errors import ParseFailure
from tidegate.protocol.codec import Object, decode_object, decode_text, encode
from tidegate.protocol.naming import SEPARATOR

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,63}):(//)?")
_OWN = re.compile(r"https?://|data:", re.IGNORECASE)
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_Edit = Callable[[Raw], Raw]
_BRACKET = ord("[")


def uri_out(server: str, uri: str) -> str:
    """Give the URI, or the URI template, under which a prefixed endpoint shows `server`'s `uri`."""
    found = _SCHEME.match(uri)
    if found is None or _OWN.match(uri):
        return uri
    return f"{found[0]}{server}{SEPARATOR}{uri[found.end() :]}"


def uri_in(shown: str, servers: Container[str]) -> tuple[str, str] | None:
    """Give the server and its own URI of a shown one; None where it names none of `servers`."""
    found = _SCHEME.match(shown)
    if found is None or _OWN.match(shown):
        return None
    server, separator, rest = shown[found.end() :].partition(SEPARATOR)
    if not separator or server not in servers:
        return None
    return server, found[0] + rest


class Renaming:
    """What becomes of one server's URIs on one endpoint."""

    __slots__ = ("_in_meta", "_prefixed", "_seen", "_server", "plain")

    def __init__(self, server: str, *, prefixed: bool, seen: Callable[[str], None] | None = None) -> None:
        """`seen` is told of each URI in a result that does not show whose it is."""
        self._server = server
        self._prefixed = prefixed
        self._seen = seen
        self.plain = not prefixed and seen is None
        """Whether nothing at all is to be done: `result` gives back what it got."""
        in_ui = {"resourceUri": self._uri}
        self._in_meta: Mapping[str, _Edit] = {
            "ui": lambda raw: _in_object(raw, in_ui),
            "ui/resourceUri": self._uri,
        }

    def uri_out(self, uri: str) -> str:
        """Give the URI, or URI template, that is shown for the server's own."""
        return uri_out(self._server, uri) if self._prefixed else uri

    def result(self, raw: Raw) -> Raw:
        """Rename in a result of `tools/call`, `prompts/get` or `resources/read`.

        Gives the same object where nothing changes. What is deeper, or not of the usual shape, passes.
        """
        if not may_name(bytes(raw)):
            return raw
        blocks = self._blocks
        edits: Mapping[str, _Edit] = {
            "content": blocks,
            "contents": blocks,
            "messages": lambda found: _in_list(found, self._message),
            "_meta": self._meta,
        }
        return _in_object(raw, edits)

    def fields(self, fields: Object) -> Object:
        """Rename in a definition: a tool's, a prompt's, a resource's or a template's."""
        if not self._prefixed:
            return fields
        edits: Mapping[str, _Edit] = {"uri": self._uri, "uriTemplate": self._uri, "_meta": self._meta}
        return {**fields, **_changes(fields, edits)}

    def _message(self, raw: Raw) -> Raw:
        return _in_object(raw, {"content": self._blocks, "_meta": self._meta})

    def _blocks(self, raw: Raw) -> Raw:
        return _in_list(raw, self._block) if memoryview(raw)[0] == _BRACKET else self._block(raw)

    def _block(self, raw: Raw) -> Raw:
        if not may_name(bytes(raw)):
            return raw
        resource: Mapping[str, _Edit] = {"uri": self._uri, "_meta": self._meta}
        return _in_object(raw, {**resource, "resource": lambda found: _in_object(found, resource)})

    def _meta(self, raw: Raw) -> Raw:
        return _in_object(raw, self._in_meta)

    def _uri(self, raw: Raw) -> Raw:
        uri = decode_text(raw)
        if uri is None:
            return raw
        shown = self.uri_out(uri)
        if shown != uri:
            return Raw(encode(shown))
        if self._seen is not None:
            self._seen(uri)
        return raw


def may_name(data: bytes) -> bool:
    """Tell whether there may be a URI. A key written with escapes is as good as one without."""
    if b'ri"' in data:  # `"uri"`, `"resourceUri"`, `"ui/resourceUri"`
        return True
    return b"\\" in data and b"\\u" in data  # one character is looked for much faster than two


def _in_object(raw: Raw, edits: Mapping[str, _Edit]) -> Raw:
    try:
        fields = decode_object(raw)
    except ParseFailure:
        return raw
    changes = _changes(fields, edits)
    return Raw(encode({**fields, **changes})) if changes else raw


def _changes(fields: Object, edits: Mapping[str, _Edit]) -> Object:
    changes: Object = {}
    for key, edit in edits.items():
        value = fields.get(key)
        if value is not None and (changed := edit(value)) is not value:
            changes[key] = changed
    return changes


def _in_list(raw: Raw, edit: _Edit) -> Raw:
    try:
        items = _decode_list(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw
    changed = [edit(item) for item in items]
    if all(new is old for new, old in zip(changed, items, strict=True)):
        return raw
    return Raw(encode(changed))
