"""View: what one endpoint shows, already encoded. Immutable; a change makes a new one."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from msgspec import Raw

from tidegate.domain.endpoint import EndpointSpec, Names
from tidegate.domain.errors import ParseFailure
from tidegate.domain.target import Kind, Target
from tidegate.gateway.definitions import Definitions, Tool
from tidegate.protocol import mirrors, naming
from tidegate.protocol.codec import decode_object, encode
from tidegate.protocol.mirrors import Mirror

UNAVAILABLE = "dev.tidegate/unavailable"
"""Key in a listed tool's `_meta`: why it cannot be called now."""
SERVERS = "dev.tidegate/servers"
"""Key in a list's `_meta`: servers that are missing from it or cannot be called, with state and reason."""
_LONGEST_INSTRUCTIONS = 4000
"""Characters taken of one server's instructions: they end in a model's context."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One shown tool."""

    shown: str
    target: Target
    encoded: bytes
    mirrors: tuple[Mirror, ...] = ()
    """Arguments that the tool wants repeated in headers."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a view needs of one server."""

    name: str
    definitions: Definitions | None
    unavailable: str | None
    """Why it cannot be called now, or None."""
    state: str


@dataclass(frozen=True, slots=True)
class View:
    """What one endpoint shows."""

    spec: EndpointSpec
    entries: Sequence[Entry] = ()
    by_name: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    missing: Mapping[str, object] = field(default_factory=dict[str, object])
    """Server -> state and reason, for those that are not ready."""
    said: Mapping[str, str] = field(default_factory=dict[str, str])
    """Server -> its instructions, in declared order."""
    alone: bool = False
    """Whether it shows one server as if that stood here itself."""
    dropped: Sequence[str] = ()
    """Tools left out because a name was taken, each with the reason."""


def build(spec: EndpointSpec, parts: Sequence[Part]) -> View:
    """Build an endpoint's view. `parts` stands in declared order, which decides who keeps a name."""
    entries: dict[str, Entry] = {}
    dropped: list[str] = []
    for part in parts:
        for tool in part.definitions.tools if part.definitions else ():
            shown = tool.name if spec.names is Names.PLAIN else naming.shown(part.name, tool.name)
            if not _chosen(spec, part.name, tool.name):
                continue
            if shown in entries:
                taken = entries[shown].target.server
                dropped.append(f"{part.name}: tool {tool.name!r} is left out: {taken} has the name {shown!r}")
                continue
            encoded = _encode(tool, shown, part.unavailable)
            wanted = mirrors.read(tool.fields.get("inputSchema"))
            entries[shown] = Entry(shown, Target(part.name, Kind.TOOL, tool.name), encoded, wanted)
    missing: dict[str, object] = {
        part.name: {"state": part.state, "reason": part.unavailable}
        for part in parts
        if part.unavailable is not None
    }
    alone = spec.names is Names.PLAIN and len(parts) == 1
    return View(spec, tuple(entries.values()), entries, missing, _said(parts), alone, tuple(dropped))


def _chosen(spec: EndpointSpec, server: str, tool: str) -> bool:
    if not spec.tools:
        return True
    name = f"{server}{naming.SEPARATOR}{tool}"
    return any(fnmatchcase(name, pattern) for pattern in spec.tools)


def _encode(tool: Tool, shown: str, unavailable: str | None) -> bytes:
    fields = {**tool.fields, "name": Raw(encode(shown))}
    if unavailable is not None:
        try:
            meta = decode_object(tool.fields["_meta"]) if "_meta" in tool.fields else {}
        except ParseFailure:
            meta = {}
        fields["_meta"] = Raw(encode({**meta, UNAVAILABLE: unavailable}))
    return encode(fields)


def _said(parts: Sequence[Part]) -> dict[str, str]:
    return {
        part.name: part.definitions.instructions.strip()[:_LONGEST_INSTRUCTIONS]
        for part in parts
        if part.definitions and part.definitions.instructions
    }


def instructions(view: View, servers: Container[str]) -> str | None:
    """Merge the instructions of those `servers` that may be known of."""
    said = [(name, text) for name, text in view.said.items() if name in servers]
    if not said:
        return None
    if view.alone:
        return said[0][1]
    return "\n\n".join(f"## {name} (tools {name}__…)\n{text}" for name, text in said)
