"""Definitions: what a server says it offers, kept by the digest of its spec.

Kept ones make a list complete before the server has started, and after it has gone. Nothing in them is
interpreted beyond what names them; nothing is followed by reference.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
from msgspec import Raw

from tidegate.domain.errors import ParseFailure, StateError, UpstreamProtocolError
from tidegate.domain.server import ServerSpec
from tidegate.domain.target import LISTED, Kind
from tidegate.ports.state import State
from tidegate.protocol import uris
from tidegate.protocol.codec import Object, decode_object, decode_text, decode_value, encode
from tidegate.telemetry import log

LONGEST_NAME = 256
"""Characters of a tool's name; the specification advises 128. Names stand in every record of a call."""
DEEPEST = 128
"""Levels of one definition (MCP 2026-07-28, basic, "ref resolution": bound the depth of schemas)."""
_REASONS = 20
"""Definitions that were left out and are said one by one."""
_PART = 900_000
"""Bytes a stored part may have: the state port takes values of at most 1 MiB."""
_KEPT_FOR = 90 * 86_400.0
_FORM = 2
"""Version of the stored form. What has none was written when tools only were known."""
_LONGEST_TTL = 86_400_000
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ONE_SORT = bytes.maketrans(b"{[}]", b"(())")
_OTHERS = bytes(set(range(256)) - set(b"{[}]"))


@dataclass(frozen=True, slots=True)
class ListKind:
    """How a kind is listed."""

    method: str
    key: str
    """Of the list in a result."""
    name: str
    """Of what names one, in its definition."""
    capability: str


LISTS: Mapping[Kind, ListKind] = {
    Kind.TOOL: ListKind("tools/list", "tools", "name", "tools"),
    Kind.PROMPT: ListKind("prompts/list", "prompts", "name", "prompts"),
    Kind.RESOURCE: ListKind("resources/list", "resources", "uri", "resources"),
    Kind.TEMPLATE: ListKind("resources/templates/list", "resourceTemplates", "uriTemplate", "resources"),
}


@dataclass(frozen=True, slots=True)
class Definition:
    """A tool, prompt, resource or template as its server defines it."""

    name: str
    """Its name, URI or URI template."""
    fields: Object
    """The whole definition, values undecoded."""


Tool = Definition


@dataclass(frozen=True, slots=True)
class Listed:
    """What a server lists of one kind, and how long it holds."""

    items: tuple[Definition, ...] = ()
    ttl: int | None = None
    """Milliseconds for which the server said that it holds; None where it did not say."""
    public: bool = False
    """Whether the server said that it is the same for everybody."""
    refused: tuple[str, ...] = ()
    """What was left out, and why."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What a server lists otherwise to some: those who offer it something, or whose own workload it is."""

    more: tuple[Definition, ...] = ()
    """Further ones, and those that are defined otherwise."""
    without: frozenset[str] = frozenset()
    """Names of those that are not there."""

    @classmethod
    def between(cls, common: Sequence[Definition], offered: Sequence[Definition]) -> Delta:
        """Compare what is listed to everybody with what is listed for an offer."""
        known = {each.name: each.fields for each in common}
        more = tuple(each for each in offered if known.get(each.name) != each.fields)
        return cls(more, frozenset(known).difference(each.name for each in offered))

    def apply(self, common: Sequence[Definition]) -> tuple[Definition, ...]:
        """Give what is listed to them."""
        other = {each.name: each for each in self.more}
        kept = [other.pop(each.name, each) for each in common if each.name not in self.without]
        return (*kept, *other.values())


@dataclass(frozen=True, slots=True)
class Definitions:
    """What one server offers, as far as it is known."""

    lists: Mapping[Kind, Listed] = field(default_factory=dict[Kind, Listed])
    """By kind; one that could never be read is absent."""
    instructions: str | None = None
    capabilities: Object = field(default_factory=dict[str, Raw])
    """What the server declared."""
    modern: bool = False
    """Whether it is of the era of 2026-07-28."""
    offers: Mapping[str, Mapping[Kind, Delta]] = field(default_factory=dict[str, "Mapping[Kind, Delta]"])
    """By the label of what its clients offer it: what is then listed otherwise, where that is known."""

    def offered(self, label: str) -> Definitions:
        """Give what is listed to clients of a label; the same object where that is what all others get."""
        return self.otherwise(self.offers.get(label, {}))

    def otherwise(self, differing: Mapping[Kind, Delta]) -> Definitions:
        """Give what is listed to some with these differences; the same object where there are none."""
        deltas = {kind: delta for kind, delta in differing.items() if delta != Delta()}
        if not deltas:
            return self
        others = {
            kind: replace(listed, items=deltas[kind].apply(listed.items), public=False)
            for kind, listed in self.lists.items()
            if kind in deltas
        }
        return replace(self, lists={**self.lists, **others})

    @property
    def tools(self) -> tuple[Definition, ...]:
        """Its tools."""
        return self.of(Kind.TOOL)

    def of(self, kind: Kind) -> tuple[Definition, ...]:
        """Give what it lists of a kind."""
        listed = self.lists.get(kind)
        return () if listed is None else listed.items

    def declares(self, kind: Kind) -> bool:
        """Tell whether the server says that it has this kind."""
        return LISTS[kind].capability in self.capabilities

    def has(self, capability: str, part: str) -> bool:
        """Tell whether a capability was declared with a part, e.g. `resources` with `subscribe`."""
        return bytes(self.part(capability).get(part, b"false")) not in (b"false", b"null")

    def part(self, capability: str) -> Object:
        """Give what a capability was declared with."""
        return _object(self.capabilities.get(capability))


def read_page(kind: Kind, page: Object, found: dict[str, Definition], refused: list[str]) -> None:
    """Add a page of a list to `found`; what has no name, or a name that was there, is left out.

    So is what cannot be shown as one line of plain text, and what is nested too deep; `refused` says so.

    Raises:
        UpstreamProtocolError: it is no list of objects.
    """
    form = LISTS[kind]
    try:
        for raw in _decode_list(page.get(form.key, Raw(b"[]"))):
            fields = decode_object(raw)
            name = decode_text(fields.get(form.name))
            if not name or name in found:
                continue
            reason = _refusal(kind, name, raw)
            if reason is None:
                found[name] = Definition(name, fields)
            elif len(refused) < _REASONS:
                refused.append(f"{kind} {name[:80]!r} is left out: {reason}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ParseFailure) as error:
        raise UpstreamProtocolError(f"{form.method} gave no list of {form.key}", sent=True) from error


def _refusal(kind: Kind, name: str, raw: Raw) -> str | None:
    if kind in (Kind.TOOL, Kind.PROMPT):
        sound = len(name) <= LONGEST_NAME and name.isprintable()
    else:
        sound = uris.is_sound(name)
    if not sound:
        return "its name is too long or no line of plain text"
    return f"it is nested deeper than {DEEPEST} levels" if too_deep(bytes(raw)) else None


def too_deep(data: bytes) -> bool:
    """Tell whether JSON has more than `DEEPEST` levels. Nothing in it is decoded."""
    if data.count(b"{") + data.count(b"[") <= DEEPEST:
        return False
    brackets = _STRINGS.sub(b"", data).translate(_ONE_SORT, _OTHERS)
    for _ in range(DEEPEST):  # each round takes off the innermost level
        if not brackets:
            return False
        brackets = brackets.replace(b"()", b"")
    return bool(brackets)


def freshness(page: Object) -> tuple[int | None, bool]:
    """Give a list's `ttlMs`, and whether it is `public` (2026-07-28, caching). Odd values count as not said."""
    ttl = decode_value(page["ttlMs"]) if "ttlMs" in page else None
    if isinstance(ttl, bool) or not isinstance(ttl, int):
        return None, False
    return min(max(ttl, 0), _LONGEST_TTL), bytes(page.get("cacheScope", b"")) == b'"public"'


class DefinitionStore:
    """Keeps definitions in the state store, by spec digest."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def load(self, spec: ServerSpec) -> Definitions | None:
        """Give what was kept, or None. What an earlier version kept is read as far as it goes."""
        try:
            rows = await self._state.scan(f"definitions/{spec.digest()}/")
        except StateError as error:
            log().error("state.failed", reason=str(error))
            return None
        if not rows:
            return None
        try:
            return await asyncio.to_thread(_decode, b"".join(value for _, value in rows))
        except (msgspec.DecodeError, ParseFailure, UpstreamProtocolError):
            return None

    async def save(self, spec: ServerSpec, definitions: Definitions) -> None:
        """Keep them. What is there already in equal form is not written again."""
        data = await asyncio.to_thread(_encode, definitions)
        prefix = f"definitions/{spec.digest()}/"
        parts = {
            f"{prefix}{at:04d}": data[at * _PART : (at + 1) * _PART] for at in range(-(-len(data) // _PART))
        }
        try:
            before = dict(await self._state.scan(prefix))
            for key in before.keys() - parts.keys():
                await self._state.put(key, None)
            for key, value in parts.items():
                if before.get(key) != value:
                    await self._state.put(key, value, expires=_KEPT_FOR)
        except StateError as error:
            log().error("state.failed", reason=str(error))


def _encode(definitions: Definitions) -> bytes:
    lists = {
        kind.value: {
            LISTS[kind].key: [item.fields for item in listed.items],
            "ttlMs": listed.ttl,
            "cacheScope": "public" if listed.public else "private",
            "refused": listed.refused,
        }
        for kind, listed in definitions.lists.items()
    }
    return encode(
        {
            "form": _FORM,
            "lists": lists,
            "instructions": definitions.instructions,
            "capabilities": definitions.capabilities,
            "modern": definitions.modern,
            "offers": {label: _encode_deltas(deltas) for label, deltas in definitions.offers.items()},
        }
    )


def _encode_deltas(deltas: Mapping[Kind, Delta]) -> dict[str, object]:
    return {
        kind.value: {
            LISTS[kind].key: [each.fields for each in delta.more],
            "without": sorted(delta.without),
        }
        for kind, delta in deltas.items()
    }


def _decode_deltas(kept: Object) -> dict[Kind, Delta]:
    deltas: dict[Kind, Delta] = {}
    for kind in LISTED:
        if kind in kept:
            page = decode_object(kept[kind])
            without = msgspec.convert(decode_value(page.get("without", Raw(b"[]"))), frozenset[str])
            deltas[kind] = Delta(_listed(kind, page).items, without)
    return deltas


def _decode(data: bytes) -> Definitions:
    whole = decode_object(data)
    said = decode_text(whole.get("instructions"))
    if "form" not in whole:
        return Definitions({Kind.TOOL: _listed(Kind.TOOL, whole)}, said, {"tools": Raw(b"{}")})
    if decode_value(whole["form"]) != _FORM:
        raise ParseFailure("written by another version")
    kept = _object(whole.get("lists"))
    lists = {kind: _listed(kind, decode_object(kept[kind])) for kind in LISTED if kind in kept}
    offers = {
        label: _decode_deltas(decode_object(deltas)) for label, deltas in _object(whole.get("offers")).items()
    }
    modern = bytes(whole.get("modern", b"")) == b"true"
    return Definitions(lists, said, _object(whole.get("capabilities")), modern, offers)


def _listed(kind: Kind, page: Object) -> Listed:
    found: dict[str, Definition] = {}
    read_page(kind, page, found, [])
    ttl, public = freshness(page)
    refused = msgspec.convert(decode_value(page.get("refused", Raw(b"[]"))), tuple[str, ...])
    return Listed(tuple(found.values()), ttl, public, refused)


def _object(value: Raw | None) -> Object:
    if value is None:
        return {}
    try:
        return decode_object(value)
    except ParseFailure:
        return {}
