"""Stop: what an administrator has stopped, until it is resumed. Says what it concerns; decides nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LONGEST_NAME, LONGEST_REASON = 512, 500
"""Characters of what is stopped, and of why."""
_PARTS = "__"
"""Between a server's name, which holds no underscore, and its tool's."""


class StopScope(StrEnum):
    """What a stop is about."""

    ALL = "all"
    TENANT = "tenant"
    PRINCIPAL = "principal"
    CLIENT = "client"
    SERVER = "server"
    TOOL = "tool"


_WHO = frozenset({StopScope.PRINCIPAL, StopScope.CLIENT})


@dataclass(frozen=True, slots=True)
class Stop:
    """One emergency stop. Times are Unix seconds."""

    id: str
    scope: StopScope
    name: str
    """Of the tenant, client or server; a principal's subject or key; `server__tool`, the tool's own name or a pattern.
    Empty where everything is stopped."""
    reason: str
    by: str
    """Who stopped it, for people."""
    since: float
    until: float | None = None
    """When it ends by itself; where absent, only when it is resumed."""
    issuer: str = ""
    """Who vouches for the principal; empty where it does not matter."""
    tenant: str = ""
    """Of the administrator who made it: it is about nobody of another tenant. Empty: the operator's, about everybody."""

    @property
    def server(self) -> str:
        """The server that it is about; empty where it is about none."""
        if self.scope is StopScope.TOOL:
            return self.name.partition(_PARTS)[0]
        return self.name if self.scope is StopScope.SERVER else ""

    @property
    def tool(self) -> str:
        """The tool, by its server's own name for it, or a shell-style pattern; empty where it is about none."""
        return self.name.partition(_PARTS)[2] if self.scope is StopScope.TOOL else ""

    @property
    def words(self) -> str:
        """What it is about, for administrators: `tool claims__pay`."""
        if self.scope is StopScope.ALL:
            return "everything"
        whose = f" of the tenant {self.tenant}" if self.tenant and self.scope in _WHO else ""
        return f"{self.scope} {self.name}" + (f" of {self.issuer}" if self.issuer else "") + whose

    def ended(self, now: float) -> bool:
        """Tell whether it is over by itself."""
        return self.until is not None and now >= self.until


def mistake(scope: StopScope, name: str, reason: str, issuer: str = "") -> str | None:
    """Say what is wrong with a stop that somebody asks for; None where nothing is."""
    for what, text, longest in (
        ("what is stopped", name, LONGEST_NAME),
        ("the reason", reason, LONGEST_REASON),
        ("the issuer", issuer, LONGEST_NAME),
    ):
        if len(text) > longest:
            return f"{what}: at most {longest} characters"
        if not text.isprintable():
            return f"{what}: no line breaks or other control characters"
    if not reason.strip():
        return "a stop needs a reason: whoever is refused is told it"
    if issuer and scope is not StopScope.PRINCIPAL:
        return "only a principal has an issuer"
    if (scope is StopScope.ALL) == bool(name):
        return "everything has no name" if name else f"which {scope}?"
    server, parted, tool = name.partition(_PARTS)
    if scope is StopScope.TOOL and not (server and parted and tool):
        return "a tool is said as server__tool, with the server's own name for it, or a pattern such as server__get_*"
    return None
