"""What a client offers its servers: which questions they may ask of it. Pure tables and readers.

Sources: MCP 2025-11-25 basic/lifecycle (client capabilities), client/elicitation, client/sampling, client/roots;
2026-07-28 basic/patterns/mrtr; MCP Apps 2026-01-26 (`io.modelcontextprotocol/ui`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag

from msgspec import Raw

from tidegate.domain.errors import ParseFailure
from tidegate.protocol.codec import Object, decode_object, decode_text, encode

UI_EXTENSION = "io.modelcontextprotocol/ui"
UI_TYPE = "text/html;profile=mcp-app"


class Offer(IntFlag):
    """What a client declared that servers may use. A server is never offered more."""

    NONE = 0
    FORM = 1
    """Elicitation by a form."""
    URL = 2
    """Elicitation by a URL that the user opens."""
    SAMPLING = 4
    SAMPLING_TOOLS = 8
    SAMPLING_CONTEXT = 16
    ROOTS = 32
    UI = 64
    """Shows MCP Apps."""

    @property
    def label(self) -> str:
        """A word for keys and labels: `none`, or names joined by dots."""
        return ".".join(name for flag, name in _NAMES if flag in self) or "none"

    @property
    def suffix(self) -> str:
        """What the key of a workload ends in that was offered this: nothing for nothing."""
        return f"+{self.label}" if self else ""


_NAMES = (
    (Offer.FORM, "form"), (Offer.URL, "url"), (Offer.SAMPLING, "sampling"), (Offer.SAMPLING_TOOLS, "tools"),
    (Offer.SAMPLING_CONTEXT, "context"), (Offer.ROOTS, "roots"), (Offer.UI, "ui"),
)  # fmt: skip

QUESTIONS = frozenset({"elicitation/create", "sampling/createMessage", "roots/list"})
"""What a server may ask of a client."""


def parse(label: str) -> Offer:
    """Read a label.

    Raises:
        ValueError: it is none.
    """
    offer = Offer.NONE
    if label == "none":
        return offer
    flags = {name: flag for flag, name in _NAMES}
    for name in label.split("."):
        if name not in flags:
            raise ValueError(f"{name!r} is nothing that a client offers")
        offer |= flags[name]
    return offer


def read(capabilities: Object) -> Offer:
    """Read a client's capabilities. What is not as it must be counts as not declared."""
    offer = Offer.NONE
    if not capabilities:
        return offer
    elicitation = _part(capabilities, "elicitation")
    if elicitation is not None:
        if "form" in elicitation or "url" not in elicitation:  # an empty object means forms (2025-11-25)
            offer |= Offer.FORM
        if "url" in elicitation:
            offer |= Offer.URL
    sampling = _part(capabilities, "sampling")
    if sampling is not None:
        offer |= Offer.SAMPLING
        offer |= Offer.SAMPLING_TOOLS if "tools" in sampling else Offer.NONE
        offer |= Offer.SAMPLING_CONTEXT if "context" in sampling else Offer.NONE
    if _part(capabilities, "roots") is not None:
        offer |= Offer.ROOTS
    extensions = _part(capabilities, "extensions")
    if extensions is not None and UI_TYPE.encode() in bytes(extensions.get(UI_EXTENSION, b"")):
        offer |= Offer.UI
    return offer


def declare(offer: Offer) -> Mapping[str, object]:
    """Give the capabilities that a legacy server is told in `initialize`."""
    found: dict[str, object] = {}
    if offer & (Offer.FORM | Offer.URL):
        modes: dict[str, object] = {}
        if Offer.FORM in offer:
            modes["form"] = {}
        if Offer.URL in offer:
            modes["url"] = {}
        found["elicitation"] = modes
    if Offer.SAMPLING in offer:
        parts: dict[str, object] = {}
        if Offer.SAMPLING_TOOLS in offer:
            parts["tools"] = {}
        if Offer.SAMPLING_CONTEXT in offer:
            parts["context"] = {}
        found["sampling"] = parts
    if Offer.ROOTS in offer:
        found["roots"] = {"listChanged": True}
    if Offer.UI in offer:
        found["extensions"] = {UI_EXTENSION: {"mimeTypes": [UI_TYPE]}}
    return found


def for_server(capabilities: Object, server: Object) -> Raw:
    """Give the capabilities that a modern server is told with one call of a client.

    `capabilities` are the client's, `server` the server's. Questions pass as the client declared them;
    extensions only where both sides have them.
    """
    kept = {name: capabilities[name] for name in ("elicitation", "sampling", "roots") if name in capabilities}
    theirs, ours = _part(server, "extensions"), _part(capabilities, "extensions")
    if theirs and ours:
        shared = {name: value for name, value in ours.items() if name in theirs}
        if shared:
            kept["extensions"] = Raw(encode(shared))
    return Raw(encode(kept))


def fingerprint(capabilities: Object) -> bytes:
    """Give bytes that are equal only where capabilities are, whatever clients name theirs."""
    return encode(capabilities)


def extensions(capabilities: Object) -> Object:
    """Give the extensions that a side declared."""
    return _part(capabilities, "extensions") or {}


def needed(method: str, params: Object) -> Offer:
    """Give what a client must have declared to be asked this; every flag where nobody can be."""
    if method == "elicitation/create":
        return Offer.URL if decode_text(params.get("mode")) == "url" else Offer.FORM
    if method == "sampling/createMessage":
        offer = Offer.SAMPLING
        if "tools" in params or "toolChoice" in params:
            offer |= Offer.SAMPLING_TOOLS
        return offer
    if method == "roots/list":
        return Offer.ROOTS
    return ~Offer.NONE


def required(offer: Offer) -> Mapping[str, object]:
    """Give `data.requiredCapabilities` of a refusal with -32021 (2026-07-28, basic, error codes)."""
    return declare(offer)


def _part(whole: Object, name: str) -> Object | None:
    value = whole.get(name)
    if value is None:
        return None
    try:
        return decode_object(value)
    except ParseFailure:
        return None
