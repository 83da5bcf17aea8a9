"""Arguments that a tool wants repeated in headers: `x-mcp-header` (MCP 2026-07-28, Streamable HTTP).

Only what a chain of `properties` reaches counts, and only strings, whole numbers and booleans. The schema is
walked as it stands; nothing is followed by reference, nothing fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from msgspec import Raw

from tidegate.domain.errors import HeaderMismatch, ParseFailure
from tidegate.protocol.codec import decode_value
from tidegate.protocol.inbound import decode_header

_KEY = "x-mcp-header"
_PREFIX = "Mcp-Param-"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_TYPES = frozenset({"string", "integer", "boolean"})
_MOST = 64
"""Headers that a tool may ask for."""
_PARAM = b"mcp-param-"
_LARGEST = 2**53 - 1
"""A whole number that every implementation can hold (2026-07-28, server/tools, x-mcp-header)."""
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.0{1,20})?")
_SAFE = re.compile(rb"[\x20-\x7e\t]*")
"""What a header's value may hold (RFC 9110, and "Value encoding")."""
_DATA = frozenset({"default", "const", "enum", "examples"})
"""Keywords whose values are data, not schemas."""
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
"""Keywords whose values are schemas by name: a name is no keyword."""
_Schema = dict[str, object]
_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mirror:
    """One argument, by its path, and the whole name of its header."""

    header: str
    path: _Path


def read(schema: Raw | None) -> tuple[Mirror, ...]:
    """Give what a tool's input schema asks for.

    Raises:
        ValueError: an annotation is not as it must be, anywhere in the schema, so a client must not use
            the tool over HTTP. The message says what is wrong and where.
    """
    if schema is None or not _may_ask(bytes(schema)):
        return ()
    try:
        whole = decode_value(schema)
    except ParseFailure as error:
        raise ValueError(f"its inputSchema cannot be read: {error}") from error
    found: dict[str, Mirror] = {}
    for path, part in _walk(whole):
        if _KEY not in part:
            continue
        mirror = _mirror(path, part)
        first = found.setdefault(mirror.header.lower(), mirror)
        if first is not mirror:
            raise ValueError(f"{_KEY} of {_at(mirror.path)} is that of {_at(first.path)} too")
        if len(found) > _MOST:
            raise ValueError(f"more than {_MOST} properties have {_KEY}")
    return tuple(found.values())


def values(mirrors: Sequence[Mirror], arguments: Raw) -> dict[str, str]:
    """Give the headers of a call. An argument that is absent, null or of another type has none.

    Raises:
        ParseFailure: the arguments are nested too deep.
    """
    if not mirrors:
        return {}
    whole = decode_value(arguments)
    headers: dict[str, str] = {}
    for mirror in mirrors:
        text = _text(_value(whole, mirror.path))
        if text is not None:
            headers[mirror.header] = text
    return headers


def check(mirrors: Sequence[Mirror], arguments: Raw, headers: Mapping[bytes, bytes]) -> None:
    """See that a modern client repeated the arguments in headers as it must. Others' headers are ignored.

    `headers` has names in lower case.

    Raises:
        HeaderMismatch: one is missing, differs, or stands though the argument does not.
        ParseFailure: the arguments are nested too deep.
    """
    if not mirrors:
        return
    whole = decode_value(arguments)
    for mirror in mirrors:
        _check(mirror.header, _value(whole, mirror.path), headers.get(mirror.header.lower().encode()))


def others(mirrors: Sequence[Mirror], headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Give the `Mcp-Param-*` headers that repeat nothing we know of: they are passed on (RFC 9110, 5.1).

    `headers` has names in lower case. What could not be one's value is left out.
    """
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name.startswith(_PARAM) and len(found) < _MOST:
            text = decode_header(value) if _SAFE.fullmatch(value) else None
            if text is not None:
                found[name.decode("latin-1")] = text
    if found:
        for mirror in mirrors:
            found.pop(mirror.header.lower(), None)
    return found


def _check(name: str, value: object, header: bytes | None) -> None:
    if value is None:
        if header is not None:
            raise HeaderMismatch(f"header {name} stands, but its argument does not")
        return
    text = _text(value)
    if header is None:
        if text is None:  # nothing that a header could repeat; whether it fits the schema is the server's
            return
        raise HeaderMismatch(f"header {name} is missing")
    told = decode_header(header) if _SAFE.fullmatch(header) else None
    if told is None:
        raise HeaderMismatch(f"header {name} is not encoded as it must be")
    if text is None or not (told == text or _same_number(told, value)):
        raise HeaderMismatch(f"header {name} differs from its argument")


def _same_number(told: str, value: object) -> bool:
    """Compare as numbers: `42.0` is `42` (2026-07-28, Streamable HTTP, server validation)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _NUMBER.fullmatch(told):
        return False
    return int(told.partition(".")[0]) == value


def _value(whole: object, path: _Path) -> object:
    for key in path:
        whole = cast("_Schema", whole).get(key) if isinstance(whole, dict) else None
    return whole


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():  # JSON has one sort of number: 7.0 is a whole one
        value = int(value)
    return str(value) if isinstance(value, int) and -_LARGEST <= value <= _LARGEST else None


def _may_ask(schema: bytes) -> bool:
    return _KEY.encode() in schema or b"\\u" in schema


def _mirror(path: _Path | None, part: _Schema) -> Mirror:
    if not path:
        raise ValueError(f"{_KEY} stands where no chain of properties leads to")
    token, kind = part[_KEY], part.get("type")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise ValueError(f"{_KEY} of {_at(path)} is no token of at most 128 characters")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ValueError(f"{_KEY} of {_at(path)} is on no string, integer or boolean")
    return Mirror(_PREFIX + token, path)


def _at(path: _Path) -> str:
    return repr(".".join(path)[:80])


def _walk(whole: object) -> Iterator[tuple[_Path | None, _Schema]]:
    """Give every schema in a schema, with the chain of `properties` that leads to it, or None."""
    waiting: list[tuple[_Path | None, object]] = [((), whole)]
    while waiting:
        path, part = waiting.pop()
        if isinstance(part, list):
            waiting += [(None, each) for each in cast("list[object]", part)]
        if not isinstance(part, dict):
            continue
        schema = cast("_Schema", part)
        yield path, schema
        found: list[tuple[_Path | None, object]] = []
        for keyword, value in schema.items():
            if keyword in _NAMED and isinstance(value, dict):
                chain = path if keyword == "properties" else None
                for name, each in cast("_Schema", value).items():
                    found.append((None if chain is None else (*chain, name), each))
            elif keyword not in _DATA:
                found.append((None, value))
        waiting += reversed(found)  # taken from the end: in the order in which they stand
