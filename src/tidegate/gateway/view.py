"""View: what one endpoint shows, already encoded. Immutable; a change makes a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from msgspec import Raw

from tidegate.domain.endpoint import EndpointSpec, Names
from tidegate.domain.errors import ParseFailure
from tidegate.domain.target import LISTED, Kind, Target
from tidegate.gateway.definitions import LISTS, Definition, Definitions, Delta
from tidegate.protocol import mirrors, naming, templates, ui, uris
from tidegate.protocol.codec import Object, decode_object, encode
from tidegate.protocol.mirrors import Mirror
from tidegate.protocol.renaming import Renaming
from tidegate.protocol.templates import Template

UNAVAILABLE = "dev.tidegate/unavailable"
"""Key in a listed definition's `_meta`: why it cannot be used now."""
SERVERS = "dev.tidegate/servers"
"""Key in a list's `_meta`: servers that are missing from it or cannot be called, with state and reason."""
_LONGEST_INSTRUCTIONS = 4000
"""Characters taken of one server's instructions: they end in a model's context."""
_SAID, _LONGEST_SAID = 200, 120
"""Things left out that are said one by one, and characters of their names: servers decide how many there are."""
ROUTED = 200
"""Templates of one server that unlisted URIs are tried against."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is shown, or that can be had without being listed."""

    shown: str
    target: Target
    encoded: bytes
    """Its definition, in the names that are shown; empty where it is not listed."""
    mirrors: tuple[Mirror, ...] = ()
    """Arguments that a tool wants repeated in headers."""
    fields: Object | None = field(default=None, compare=False, repr=False)
    """What it was made from."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a view needs of one server."""

    name: str
    definitions: Definitions | None
    unavailable: str | None
    """Why it cannot be called now, or None."""
    state: str
    unread: Mapping[Kind, str] = field(default_factory=dict[Kind, str])
    """Why a kind that it declares could not be read, or not again."""
    mirrored: bool = False
    """Whether it is asked over HTTP in the modern era, where annotations for headers have to be right."""
    stopped: Sequence[tuple[Callable[[str], object], str]] = ()
    """What tells of a tool that is stopped, and why."""

    def why_not(self, kind: Kind, name: str) -> str | None:
        """Say why something of it cannot be called now; None where it can."""
        if self.unavailable is not None or kind is not Kind.TOOL:
            return self.unavailable
        return next((why for matches, why in self.stopped if matches(name)), None)


@dataclass(frozen=True, slots=True)
class View:
    """What one endpoint shows."""

    spec: EndpointSpec
    shown: Mapping[Kind, Mapping[str, Entry]] = field(default_factory=dict[Kind, "Mapping[str, Entry]"])
    """By kind and shown name, in the order of lists."""
    aliases: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    """Tools by their servers' own names, for MCP Apps that know no other."""
    missing: Mapping[Kind, Mapping[str, object]] = field(default_factory=dict[Kind, "Mapping[str, object]"])
    """Server -> state and reason, for those whose lists of a kind are not whole or not of use."""
    public: frozenset[Kind] = frozenset()
    """Kinds whose lists every server calls the same for everybody."""
    said: Mapping[str, str] = field(default_factory=dict[str, str])
    """Server -> its instructions, in declared order."""
    alone: bool = False
    """Whether it shows one server as if that stood here itself."""
    dropped: Sequence[str] = ()
    """What was left out, each with the reason."""
    templates: Sequence[tuple[str, Template]] = ()
    """Servers and their templates, in declared order: which server an unlisted URI may be of."""
    definitions: Mapping[str, Definitions] = field(default_factory=dict[str, Definitions])
    """What is known of each server."""
    parts: Sequence[Part] = field(default=(), compare=False, repr=False)
    """What it was made from."""

    def of(self, kind: Kind) -> Mapping[str, Entry]:
        """Give what is shown of a kind."""
        return self.shown.get(kind, _NOTHING)

    @property
    def entries(self) -> Sequence[Entry]:
        """The tools."""
        return tuple(self.of(Kind.TOOL).values())

    @property
    def by_name(self) -> Mapping[str, Entry]:
        """The tools by their shown names."""
        return self.of(Kind.TOOL)

    def has_resources(self, server: str) -> bool:
        """Tell whether a server is known to have resources."""
        definitions = self.definitions.get(server)
        return definitions is not None and definitions.declares(Kind.RESOURCE)

    def otherwise(self, differing: Mapping[str, Mapping[Kind, Delta]]) -> View:
        """Give the view of those to whom some servers list something else, by server."""
        parts = [
            part
            if part.definitions is None or part.name not in differing
            else replace(part, definitions=part.definitions.otherwise(differing[part.name]))
            for part in self.parts
        ]
        return build(self.spec, parts, self)

    def changed_since(self, before: View) -> tuple[Kind, ...]:
        """Give the kinds of which another list is shown than before."""
        return tuple(kind for kind in LISTED if _encodings(self, kind) != _encodings(before, kind))


_NOTHING: Mapping[str, Entry] = {}


def _encodings(view: View, kind: Kind) -> list[bytes]:
    return [entry.encoded for entry in view.of(kind).values()]


def build(spec: EndpointSpec, parts: Sequence[Part], like: View | None = None) -> View:
    """Build an endpoint's view. `parts` stands in declared order, which decides who keeps a name.

    What is in `like` too, of servers in the very same state, is taken from there.
    """
    work = _Building(spec, like or View(spec), alone=len(parts) == 1)
    for part in parts:
        work.add(part)
    known = {part.name: part.definitions for part in parts if part.definitions is not None}
    return View(
        spec,
        work.shown,
        work.aliases(),
        {kind: _missing(parts, kind) for kind in LISTED},
        frozenset(kind for kind in LISTED if _is_public(parts, kind)),
        _said(parts),
        spec.names is Names.PLAIN and len(parts) == 1,
        tuple(work.dropped),
        tuple(work.templates),
        known,
        tuple(parts),
    )


class _Building:
    """A view while it is made."""

    def __init__(self, spec: EndpointSpec, like: View, *, alone: bool) -> None:
        self.shown: dict[Kind, dict[str, Entry]] = {kind: {} for kind in LISTED}
        self.dropped: list[str] = []
        self.templates: list[tuple[str, Template]] = []
        self._spec = spec
        self._like = like
        self._prefixed = spec.names is Names.PREFIXED
        self._alone = alone
        self._with_ui: set[str] = set()

    def add(self, part: Part) -> None:
        """Add what a server offers."""
        if part.definitions is None:
            return
        renaming = Renaming(part.name, prefixed=self._prefixed)
        for kind in LISTED:
            listed = part.definitions.lists.get(kind)
            if listed is None:
                continue
            for reason in listed.refused:
                self._say(f"{part.name}: {reason}")
            for definition in listed.items:
                if is_chosen(self._spec, part.name, kind, definition.name):
                    self._add(part, kind, definition, renaming)
        found = (templates.read(each.name) for each in part.definitions.of(Kind.TEMPLATE)[:ROUTED])
        self.templates += [(part.name, template) for template in found if template is not None]

    def aliases(self) -> dict[str, Entry]:
        """Give the tools that a server's app may call by their own names: no two may have the same."""
        tools = self.shown[Kind.TOOL].values()
        times = Counter(entry.target.name for entry in tools)
        return {
            entry.target.name: entry
            for entry in tools
            if entry.target.server in self._with_ui and times[entry.target.name] == 1
        }

    def _add(self, part: Part, kind: Kind, definition: Definition, renaming: Renaming) -> None:
        name = definition.name
        shown = self._name(part.name, kind, name, renaming)
        entries = self.shown[kind]
        if shown in entries:
            taken = entries[shown].target.server
            self._drop(part, kind, name, f"{taken} has the name {shown[:_LONGEST_SAID]!r}")
            return
        wanted: tuple[Mirror, ...] = ()
        if kind is Kind.TOOL:
            if ui.is_shown_by(definition.fields):
                self._with_ui.add(part.name)
            if not self._alone and ui.is_for_apps_only(definition.fields):
                return  # an app may call its own server's tools only, and here nobody can tell whose it is
            try:
                wanted = mirrors.read(definition.fields.get("inputSchema"))
            except ValueError as error:
                if part.mirrored:
                    self._drop(part, kind, name, str(error))
                    return
        entries[shown] = self._alike(part, kind, shown, definition) or Entry(
            shown,
            Target(part.name, kind, name),
            _encode(kind, definition.fields, shown, part.why_not(kind, name), renaming),
            wanted,
            definition.fields,
        )

    def _alike(self, part: Part, kind: Kind, shown: str, definition: Definition) -> Entry | None:
        found = self._like.of(kind).get(shown)
        same = found is not None and found.fields is definition.fields and found.target.server == part.name
        return found if same else None

    def _name(self, server: str, kind: Kind, name: str, renaming: Renaming) -> str:
        if kind in (Kind.TOOL, Kind.PROMPT):
            return naming.shown(server, name) if self._prefixed else name
        return renaming.uri_out(name)

    def _drop(self, part: Part, kind: Kind, name: str, why: str) -> None:
        self._say(f"{part.name}: {kind} {name[:_LONGEST_SAID]!r} is left out: {why}")

    def _say(self, reason: str) -> None:
        if len(self.dropped) < _SAID:
            self.dropped.append(reason)


def is_chosen(spec: EndpointSpec, server: str, kind: Kind, name: str) -> bool:
    """Tell whether an endpoint chooses something by its patterns on `server__name`."""
    patterns = {Kind.TOOL: spec.tools, Kind.PROMPT: spec.prompts}.get(kind, spec.resources)
    if not patterns:
        return True
    if kind in (Kind.RESOURCE, Kind.TEMPLATE) and not uris.is_plain(name):
        return False
    whole = f"{server}{naming.SEPARATOR}{name}"
    return any(fnmatchcase(whole, pattern) for pattern in patterns)


def _encode(kind: Kind, fields: Object, shown: str, unavailable: str | None, renaming: Renaming) -> bytes:
    fields = renaming.fields(fields)
    if kind in (Kind.TOOL, Kind.PROMPT):
        fields = {**fields, LISTS[kind].name: Raw(encode(shown))}
    if unavailable is not None:
        try:
            meta = decode_object(fields["_meta"]) if "_meta" in fields else {}
        except ParseFailure:
            meta = {}
        fields = {**fields, "_meta": Raw(encode({**meta, UNAVAILABLE: unavailable}))}
    return encode(fields)


def _missing(parts: Sequence[Part], kind: Kind) -> dict[str, object]:
    found: dict[str, object] = {}
    for part in parts:
        if part.definitions is not None and not part.definitions.declares(kind):
            continue  # it has none, whatever state it is in
        reason = part.unavailable or part.unread.get(kind)
        if reason is not None:
            found[part.name] = {"state": part.state, "reason": reason}
    return found


def _is_public(parts: Sequence[Part], kind: Kind) -> bool:
    declared = [part for part in parts if part.definitions is None or part.definitions.declares(kind)]
    known = [part.definitions.lists.get(kind) if part.definitions else None for part in declared]
    return bool(known) and all(listed is not None and listed.public for listed in known)


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
