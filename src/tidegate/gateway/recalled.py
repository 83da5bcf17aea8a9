"""Recalled: what a record of the journal says of a call, and the question that it would be today.

A record has who asked and what was read for the decision, nothing more: what a policy reads today that was not read
then is not known, and is told to be missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tidegate.audit.find import Kept, Record
from tidegate.domain.principal import Attribute, Principal
from tidegate.domain.record import RecordKind
from tidegate.domain.target import LISTED, Kind
from tidegate.gateway.explain import Explanation, Question
from tidegate.gateway.named import Named

_PRINCIPAL, _ARGUMENTS = "principal.", "context.arguments."
_VOUCHED = frozenset({"tenant", "issuer", "subject", "client", "roles", "groups"})
_METHODS = {"tools/call": Kind.TOOL, "prompts/get": Kind.PROMPT, "resources/read": Kind.RESOURCE}
RIGHTS = frozenset(
    {"invalid_params", "method_not_found", "denied", "insufficient_scope", "stopped", "limit_exceeded"}
)
"""Reasons of refusals that rights can be behind."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the journal has of a call."""

    call: str
    time: float
    """Unix seconds."""
    writer: str
    principal: Principal | None
    """Who asked, with what was read of it; None where that was not known yet."""
    peer: str
    method: str
    endpoint: str
    name: str
    """The name that was asked for, as far as it is kept."""
    server: str
    kind: Kind | None
    own: str
    """The server's own name for it, where it was found."""
    allowed: bool
    reason: str
    """The word of the error; empty where it was not refused."""
    rule: str
    reads: Mapping[str, str]
    because: str
    message: str
    outcome: str
    """What came of it where it went out."""
    missing: Sequence[str] = field(default=())
    """What was read and cannot be used again, since it is not kept whole."""

    @property
    def arguments(self) -> Mapping[str, object] | None:
        """Give the arguments that were read; None where none were."""
        if self.reason != "denied" and not any(name.startswith(_ARGUMENTS) for name in self.reads):
            return None
        found: dict[str, object] = {}
        for name, value in self.reads.items():
            if name.startswith(_ARGUMENTS) and name not in self.missing:
                _put(found, name.removeprefix(_ARGUMENTS).split("."), json.loads(value))
        return found

    def question(self) -> Question | None:
        """Give what would be asked today; None where too little is known of it."""
        kind = self.kind or _METHODS.get(self.method)
        name = self.own or self.name
        if self.principal is None or kind is None or kind not in LISTED or not name:
            return None
        named = Named(self.endpoint, kind, name, self.server if self.own else "")
        # Which scopes the token had is not kept, but that these were none of them.
        scopes = frozenset[str]() if self.reason == "insufficient_scope" else None
        return Question(self.principal, named, self.arguments, scopes)

    def notes(self, now: Explanation) -> Sequence[str]:
        """Say what makes it uncertain what would become of it today."""
        read = {name for name in now.reads if name.startswith((_PRINCIPAL, _ARGUMENTS))}
        read -= {f"{_PRINCIPAL}{name}" for name in _VOUCHED - {"groups", "client"}}
        unknown = sorted(name for name in read if name not in self.reads or name in self.missing)
        found: list[str] = []
        if unknown:
            found.append(
                f"policies of today read what was not kept then, and is taken to be absent: {', '.join(unknown)}"
            )
        if now.depends:
            found.append("the arguments were not read then, so they are not kept: today they would be")
        if self.reason == "insufficient_scope":
            found.append("which scopes the token had is not kept; it is taken to have none")
        return found


def recall(call: str, kept: Kept) -> Recalled | None:
    """Read what the journal has of a call; None where it does not say whether it was allowed."""
    record = kept.decisive
    if record is None:
        return None
    data = _mapping(record.get("data"))
    intent = record["kind"] == RecordKind.CALL_INTENT.value
    of, target = (record, _mapping(None)) if intent else (data, _mapping(data.get("target")))
    reads = {name: str(value) for name, value in _mapping(of.get("reads")).items()}
    missing = [name for name, value in reads.items() if not _is_whole(value)]
    return Recalled(
        call=call,
        time=int(record.get("time", 0)) / 1e6,
        writer=str(record.get("writer", "")),
        principal=_principal(record, reads, missing) if record.get("subject") is not None else None,
        peer=str(of.get("peer", "")),
        method=str(of.get("method", "tools/call" if intent else "")),
        endpoint=str(of.get("endpoint", "")),
        name=str(of.get("shown" if intent else "name", "")),
        server=str(record.get("server", "") if intent else target.get("server", "")),
        kind=_kind(record.get("target") if intent else target.get("kind")),
        own=str(record.get("name", "") if intent else target.get("name", "")),
        allowed=record["kind"] != RecordKind.REFUSED.value,
        reason=str(record.get("reason", "")),
        rule=_rule(of),
        reads=reads,
        because=str(of.get("because", "")),
        message=str(of.get("message", "")),
        outcome=kept.outcome,
        missing=missing,
    )


def _mapping(value: object) -> Record:
    return cast("Record", value) if isinstance(value, dict) else {}


def _rule(of: Record) -> str:
    if of.get("stop"):
        return f"stop {of['stop']}"
    return str(of.get("rule") or of.get("limit") or "")


def _kind(word: object) -> Kind | None:
    return next((kind for kind in Kind if kind.value == word), None)


def _principal(record: Record, reads: Mapping[str, str], missing: Sequence[str]) -> Principal:
    read = {
        name.removeprefix(_PRINCIPAL): json.loads(value)
        for name, value in reads.items()
        if name.startswith(_PRINCIPAL) and name not in missing
    }
    groups, client = read.get("groups"), read.get("client")
    attributes = {name: value for name, value in read.items() if name not in _VOUCHED}
    return Principal(
        str(record.get("tenant", "")),
        str(record.get("issuer", "")),
        str(record["subject"]),
        frozenset(map(str, record.get("roles") or ())),
        frozenset(map(str, cast("list[object]", groups))) if isinstance(groups, list) else frozenset(),
        client if isinstance(client, str) else "",
        {name: each for name, value in attributes.items() if (each := _attribute(value)) is not None},
    )


def _attribute(value: Any) -> Attribute | None:
    if isinstance(value, list):
        return tuple(map(str, cast("list[object]", value)))
    return value if isinstance(value, bool | int | str) else None


def _is_whole(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _put(into: dict[str, object], path: Sequence[str], value: object) -> None:
    """Put a value where it stood; null stands for nothing there."""
    if value is None:
        return
    for key in path[:-1]:
        inner = into.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        into = cast("dict[str, object]", inner)
    into[path[-1]] = value
