"""The client side of MCP without I/O: what the gateway says to servers, and how it reads what they say.

Here are the handshakes of both eras and the decision between them, a request in an era's dress, and
the headers a request is mirrored in. No ids are made here and nothing is kept between messages.

Sources: MCP 2026-07-28 basic/versioning (probe), basic/transports (headers); 2025-11-25 lifecycle.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

import msgspec
from msgspec import Raw

from tidegate.domain.errors import UpstreamProtocolError
from tidegate.domain.workload import Upstream
from tidegate.protocol import revisions
from tidegate.protocol.codec import (
    Object,
    decode_text,
    encode,
    encode_notification,
    encode_request,
    one_line,
)

_LARGEST_BATCH = 1000
"""Messages taken from one batch (2025-03-26 allowed them): more is a flood, not a batch."""
_LARGEST_REVISION = 32
"""Characters of a revision that are repeated in an error."""


class Inbound(msgspec.Struct):
    """A message from a server, one level deep. What is not there is empty."""

    id: Raw = Raw()
    method: str | None = None
    params: Raw = Raw()
    result: Raw = Raw()
    error: Raw = Raw()


_decode_inbound = msgspec.json.Decoder(Inbound).decode
_decode_batch = msgspec.json.Decoder(list[Raw]).decode


def decode_inbound(data: bytes) -> Inbound | None:
    """Decode a server's message; None where it is not a JSON object in UTF-8.

    A value that is `null` counts as absent, since some servers write both `result` and `error`.
    """
    try:
        if not data.isascii():
            str(data, "utf-8")  # msgspec does not look into strings that it skips
        message = _decode_inbound(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if message.error == _NULL:
        message.error = _ABSENT
    if message.result == _NULL and message.error:
        message.result = _ABSENT
    return message


_BRACE = ord("{")
_NULL = Raw(b"null")
_ABSENT = Raw()
NOTHING = Raw(b"{}")
"""An encoded object with nothing in it."""


def split_batch(data: bytes) -> list[bytes]:
    """Give the messages of a batch (2025-03-26); none where it is no batch, or too large."""
    try:
        str(data, "utf-8")
        batch = _decode_batch(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return [bytes(each) for each in batch] if len(batch) <= _LARGEST_BATCH else []


def answers(message: Inbound) -> bool:
    """Whether it is a whole response: one of a result and an error, and that an object."""
    if message.result:
        return not message.error and memoryview(message.result)[0] == _BRACE
    return bool(message.error) and memoryview(message.error)[0] == _BRACE


class Introduction(msgspec.Struct, frozen=True):
    """What the gateway says of itself to a server: encoded JSON objects."""

    info: Raw
    capabilities: Raw


def introduce(version: str, capabilities: Mapping[str, object] | None = None) -> Introduction:
    """Make the gateway's introduction. `capabilities` never exceed what its client declared."""
    info = encode({"name": "tidegate", "version": version})
    return Introduction(Raw(info), Raw(encode(dict(capabilities or {}))))


class Dress:
    """Puts requests into the dress of one upstream's era and revision."""

    __slots__ = ("_base", "_meta", "modern", "revision")

    def __init__(self, revision: str, introduction: Introduction) -> None:
        self.revision = revision
        self.modern = revision == revisions.MODERN
        self._base: Object = {}
        self._meta: Object = {}
        if self.modern:
            self._base = {
                revisions.META_VERSION: Raw(encode(revision)),
                revisions.META_CLIENT: introduction.info,
            }
            self._meta = {**self._base, revisions.META_CAPABILITIES: NOTHING}

    def told(self, capabilities: Raw, log_level: str | None) -> Object:
        """Give what a modern server is told with one request of the client it is for."""
        if log_level is None:
            if capabilities == NOTHING:
                return self._meta
            return {**self._base, revisions.META_CAPABILITIES: capabilities}
        level = Raw(encode(log_level))
        return {
            **self._base, revisions.META_CAPABILITIES: capabilities, revisions.META_LOG_LEVEL: level,
        }  # fmt: skip

    def request(
        self, request_id: bytes, method: str, params: Object, meta: Object, told: Object | None = None
    ) -> bytes:
        """Encode a request on one line. `request_id` is encoded JSON.

        `told` is what `told` gave, for a modern server: without it, nothing is offered.
        """
        if meta and not revisions.META_ERA.isdisjoint(meta):
            meta = {key: value for key, value in meta.items() if key not in revisions.META_ERA}
        if self.modern:
            told = told or self._meta
            meta = {**meta, **told} if meta else told
        return encode_request(request_id, method, params, meta)


def cancelled(request_id: bytes, reason: str) -> bytes:
    """Encode `notifications/cancelled`. `request_id` is encoded JSON."""
    return encode_notification(
        "notifications/cancelled", {"requestId": Raw(request_id), "reason": Raw(encode(reason))}
    )


INITIALIZED = encode_notification("notifications/initialized", {})


def discover(request_id: bytes, introduction: Introduction) -> bytes:
    """Encode `server/discover`, with which the era is found out."""
    return Dress(revisions.MODERN, introduction).request(request_id, "server/discover", {}, {})


def initialize(request_id: bytes, introduction: Introduction) -> bytes:
    """Encode `initialize` for the newest legacy revision."""
    params: Object = {
        "protocolVersion": Raw(encode(revisions.LEGACY[0])),
        "capabilities": introduction.capabilities,
        "clientInfo": introduction.info,
    }
    return encode_request(request_id, "initialize", params)


class _Discovered(msgspec.Struct):
    supportedVersions: list[str]
    capabilities: Raw = Raw(b"{}")
    instructions: Raw = Raw()
    meta: dict[str, Raw] = msgspec.field(name="_meta", default_factory=dict[str, Raw])


class _Initialized(msgspec.Struct):
    protocolVersion: str
    capabilities: Raw = Raw(b"{}")
    serverInfo: Raw = Raw(b"{}")
    instructions: Raw = Raw()


class _Error(msgspec.Struct):
    code: int
    data: Raw = Raw()


class _Versions(msgspec.Struct):
    supported: list[str]


_decode_discovered = msgspec.json.Decoder(_Discovered).decode
_decode_initialized = msgspec.json.Decoder(_Initialized).decode
_decode_error = msgspec.json.Decoder(_Error).decode
_decode_versions = msgspec.json.Decoder(_Versions).decode


def error_code(error: Raw | bytes) -> int | None:
    """Give the code of a JSON-RPC error object, or None where it has none."""
    try:
        return _decode_error(error).code
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_discovery(result: Raw | None, error: Raw | None) -> Upstream | None:
    """Decide the era from the answer to `server/discover`; None means: it is a legacy server.

    Only what no legacy server says makes it modern, and no single code makes it legacy, since legacy
    servers answer with all kinds of errors.

    Raises:
        UpstreamProtocolError: it is modern and shares no revision with us, or will not be discovered.
    """
    if result is None:
        return _read_discovery_error(error or _NULL)
    try:
        found = _decode_discovered(result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if revisions.MODERN not in found.supportedVersions:
        return _refuse_unless_legacy(found.supportedVersions)
    return Upstream(
        era="modern",
        revision=revisions.MODERN,
        server_info=_object(found.meta.get(revisions.META_SERVER)),
        capabilities=_object(found.capabilities),
        instructions=decode_text(found.instructions),
    )


def _read_discovery_error(error: Raw) -> None:
    try:
        told = _decode_error(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if told.code not in revisions.MODERN_ERRORS:
        return None
    if told.code == revisions.CODE_UNSUPPORTED_VERSION:
        try:
            return _refuse_unless_legacy(_decode_versions(told.data).supported)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    raise UpstreamProtocolError(f"server/discover was refused with code {told.code}")


def _refuse_unless_legacy(supported: list[str]) -> None:
    if any(revision in revisions.LEGACY for revision in supported):
        return
    names = ", ".join(repr(revision[:_LARGEST_REVISION]) for revision in supported[:8])
    raise UpstreamProtocolError(f"server speaks none of our revisions, but {names or 'none at all'}")


def read_initialize(result: Raw | None, error: Raw | None) -> Upstream:
    """Read the answer to `initialize`.

    Raises:
        UpstreamProtocolError: it was refused, is not MCP, or names a revision that is not ours.
    """
    if result is None:
        raise UpstreamProtocolError(f"initialize was refused with code {error_code(error or _NULL)}")
    try:
        found = _decode_initialized(result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise UpstreamProtocolError("answer to initialize is not MCP") from failure
    if found.protocolVersion not in revisions.LEGACY:
        named = found.protocolVersion[:_LARGEST_REVISION]
        raise UpstreamProtocolError(f"server chose revision {named!r}, which is not one of ours")
    return Upstream(
        era="legacy",
        revision=found.protocolVersion,
        server_info=_object(found.serverInfo),
        capabilities=_object(found.capabilities),
        instructions=decode_text(found.instructions),
    )


def _object(value: Raw | None) -> bytes:
    data = b"" if value is None else one_line(bytes(value))
    return data if data[:1] == b"{" else b"{}"


def header_value(text: str) -> bytes:
    """Give a header's value: as it is, or `=?base64?…?=` where it could not stand in a header or be
    taken for that form (MCP 2026-07-28, Streamable HTTP, "Value encoding").
    """
    safe = text.isascii() and text.isprintable() and text == text.strip()
    if safe and not (text.startswith("=?base64?") and text.endswith("?=")):
        return text.encode("ascii")
    return b"=?base64?%b?=" % base64.b64encode(text.encode("utf-8", "surrogatepass"))


def mirror_headers(method: str, name: str | None, mirrored: Mapping[str, str]) -> bytes:
    """Give `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*` as header lines for a modern HTTP server.

    `mirrored` has whole header names.

    Raises:
        ValueError: a name in `mirrored` cannot be a header's.
    """
    lines = b"Mcp-Method: %b\r\n" % header_value(method)
    if name is not None:
        lines += b"Mcp-Name: %b\r\n" % header_value(name)
    for key, text in mirrored.items():
        lines += header_line(key, header_value(text))
    return lines


_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def header_line(name: str, value: bytes) -> bytes:
    """Give one header line with its end.

    Raises:
        ValueError: the name or the value cannot stand in a header. The value is not repeated.
    """
    if not name or not _TOKEN.issuperset(name):
        raise ValueError(f"{name[:64]!r} cannot be a header's name")
    if any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in value):
        raise ValueError(f"the value of header {name} holds a control character")
    return b"%b: %b\r\n" % (name.encode("ascii"), value)
