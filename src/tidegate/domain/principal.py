"""Principal: who asks, as vouched for; never the token or key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

Attribute: TypeAlias = "bool | int | str | tuple[str, ...]"
"""What a policy may read of a principal: as plain as that, so that every engine has it."""

_NONE: Mapping[str, Attribute] = MappingProxyType({})


def _none() -> Mapping[str, Attribute]:
    return _NONE


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: (tenant, issuer, subject), with the roles, groups and attributes that were vouched for."""

    tenant: str
    issuer: str
    subject: str
    roles: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    client: str = ""
    """The OAuth client, or agent, that asks in its name; empty where none is known."""
    attributes: Mapping[str, Attribute] = field(default_factory=_none, compare=False, repr=False)
    """By the names that settings give them. Told to policies; personal, so never logged whole."""
    key: str = field(init=False, compare=False)
    """32 hex digits that stand for (tenant, issuer, subject) in labels and keys of channels."""
    basis: str = field(init=False, compare=True, repr=False)
    """32 hex digits that stand for all that a decision may read: who has the same may do the same."""

    def __post_init__(self) -> None:
        # Length-prefixed, so that ("a", "bc") and ("ab", "c") differ.
        parts = (self.tenant, self.issuer, self.subject)
        text = "".join(f"{len(part)}:{part}" for part in parts)
        object.__setattr__(self, "key", _digest(text))
        told = [*parts, sorted(self.roles), sorted(self.groups), self.client, dict(self.attributes)]
        object.__setattr__(self, "basis", _digest(json.dumps(told, sort_keys=True)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
