"""A client's POST, read: which era it speaks, and whether its headers say what its body says.

MCP 2026-07-28 basic/transports/streamable-http.mdx and 2025-11-25 basic/transports.mdx.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from msgspec import Raw, Struct

from tidegate.domain.errors import (
    HeaderMismatch,
    InvalidRequest,
    MethodNotFound,
    MissingMeta,
    ParseFailure,
    SessionMissing,
    UnsupportedVersion,
)
from tidegate.protocol import revisions
from tidegate.protocol.codec import Message, Object, decode_object, decode_text

Headers = Mapping[bytes, bytes]
"""Names in lower case. A header that must stand once and stands twice never gets here."""

_NAMED = {
    "tools/call": "name", "prompts/get": "name", "resources/read": "uri",
    "tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId",
}  # fmt: skip
"""Which parameter a modern client mirrors as `Mcp-Name`."""
_LEGACY_ONLY = frozenset(
    {"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/result",
     "tasks/list", "notifications/initialized", "notifications/roots/list_changed"}
)  # fmt: skip


class Inbound(Struct, frozen=True):
    """A message with what its era adds to it."""

    message: Message
    modern: bool
    revision: str
    session: str | None = None
    """Legacy: the session id as the client sent it, unchecked."""
    client: str = ""
    """Modern: `name version` of the client, for records."""
    capabilities: Object = {}
    """Modern: what this request's client can do."""
    log_level: str | None = None
    """Modern: from which level on the client wants log messages of this request, if any."""
    headers: Headers = {}
    """Modern: the request's, for arguments that are mirrored in them."""


def read(headers: Headers, message: Message) -> Inbound:
    """Read a POST whose body is decoded.

    Raises:
        Refusal: of the kind and status that the client's era wants.
    """
    header = headers.get(b"mcp-protocol-version")
    version = message.meta.get(revisions.META_VERSION)
    revision = None if header is None else header.decode("latin-1")
    if version is None and (revision is None or revision in revisions.LEGACY):
        return _read_legacy(message, headers, revision or revisions.DEFAULT_LEGACY)
    if message.method == "initialize" and version is None:
        return _read_legacy(
            message, headers, revisions.DEFAULT_LEGACY
        )  # it names what it is about to ask for
    return _read_modern(message, headers, revision, version)


def _read_legacy(message: Message, headers: Headers, revision: str) -> Inbound:
    session = headers.get(b"mcp-session-id")
    if session is not None:
        return Inbound(message, False, revision, session.decode("latin-1"))
    if message.method != "initialize":
        raise SessionMissing("no session: send initialize first, then the Mcp-Session-Id it gives")
    return Inbound(message, False, revision)


def _read_modern(message: Message, headers: Headers, revision: str | None, version: Raw | None) -> Inbound:
    if message.method is None:
        raise InvalidRequest("a POST carries a request or a notification, never a response")
    if revision is None:
        raise HeaderMismatch("header MCP-Protocol-Version is missing")
    if version is not None and decode_text(version) != revision:
        raise HeaderMismatch("header MCP-Protocol-Version differs from the body's _meta")
    if revision != revisions.MODERN:
        raise UnsupportedVersion(
            f"protocol version {revision[:40]!r} is not supported",
            data={"supported": [revisions.MODERN], "requested": revision[:40]},
        )
    if message.is_request:
        _check_meta(message)
        _check_mirrors(message, headers)
        if message.method in _LEGACY_ONLY:
            raise MethodNotFound(f"no method {message.method!r} in {revisions.MODERN}")
    meta = message.meta
    return Inbound(
        message,
        True,
        revision,
        client=client_name(meta.get(revisions.META_CLIENT)),
        capabilities=_object(meta.get(revisions.META_CAPABILITIES), revisions.META_CAPABILITIES),
        log_level=decode_text(meta.get(revisions.META_LOG_LEVEL)),
        headers=headers,
    )


def _check_meta(message: Message) -> None:
    for key in (revisions.META_VERSION, revisions.META_CAPABILITIES):
        if key not in message.meta:
            raise MissingMeta(f"_meta lacks {key}")


def _check_mirrors(message: Message, headers: Headers) -> None:
    method = headers.get(b"mcp-method")
    if method is None:
        raise HeaderMismatch("header Mcp-Method is missing")
    if method.decode("latin-1") != message.method:
        raise HeaderMismatch("header Mcp-Method differs from the body's method")
    parameter = _NAMED.get(message.method or "")
    if parameter is None:
        return
    name = headers.get(b"mcp-name")
    if name is None:
        raise HeaderMismatch("header Mcp-Name is missing")
    mirrored = decode_header(name)
    if mirrored is None or mirrored != decode_text(message.params.get(parameter)):
        raise HeaderMismatch(f"header Mcp-Name differs from the body's params.{parameter}")


def decode_header(value: bytes) -> str | None:
    """Decode a mirrored header's value, `=?base64?…?=` where it stands so. None where it is no such thing."""
    text = value.decode("latin-1")
    if not (text.startswith("=?base64?") and text.endswith("?=")):
        return text
    try:
        return base64.b64decode(text[9:-2], validate=True).decode("utf-8")
    except ValueError:  # of base64 or of UTF-8
        return None


def _object(value: Raw | None, what: str) -> Object:
    if value is None:
        return {}
    try:
        return decode_object(value)
    except ParseFailure as error:
        raise MissingMeta(f"_meta {what} must be an object") from error


def client_name(info: Raw | None) -> str:
    """Give `name version` from a clientInfo object, bounded; empty where it is not one."""
    if info is None:
        return ""
    try:
        found = decode_object(info)
    except ParseFailure:
        return ""
    name, version = decode_text(found.get("name")) or "", decode_text(found.get("version")) or ""
    return f"{name[:60]} {version[:30]}".strip()
