"""Principal: who asks, as vouched for; never the token or key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: (tenant, issuer, subject), with the roles that were vouched for."""

    tenant: str
    issuer: str
    subject: str
    roles: frozenset[str] = frozenset()
    key: str = field(init=False, compare=False)
    """32 hex digits that stand for (tenant, issuer, subject) in labels and keys of channels."""

    def __post_init__(self) -> None:
        # Length-prefixed, so that ("a", "bc") and ("ab", "c") differ.
        parts = (self.tenant, self.issuer, self.subject)
        text = "".join(f"{len(part)}:{part}" for part in parts)
        object.__setattr__(self, "key", hashlib.sha256(text.encode()).hexdigest()[:32])
