"""Sight: what an administrator has to do with: everything, or one tenant's servers and principals.

What is not named here is the operator's alone, whatever path it comes to have. What is another tenant's looks unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidegate.domain.quota import Quota
from tidegate.domain.stop import Stop, StopScope
from tidegate.domain.tenant import Tenants
from tidegate.edge.admin.door import Actor
from tidegate.edge.admin.problem import Problem, unknown_server

_OPEN = frozenset(
    {
        "servers", "server", "restart", "scale", "quarantine", "release", "signals", "signal", "quotas", "stops",
        "stop", "resume", "advice", "take_advice", "rollouts", "rollout", "events", "explain", "recall", "audit",
    }
)  # fmt: skip
"""What administrators of a tenant may ask for, by the names of the operations of the API."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one administrator sees."""

    tenant: str | None = None
    """None for the operator's: they see everything."""
    servers: tuple[str, ...] = ()
    """The tenant's own."""
    others: frozenset[str] = frozenset()
    """Names of other tenants and of what is theirs, which nothing that it is told may hold."""

    def enter(self, operation: str, servers: Iterable[str]) -> None:
        """See that an operation of the API, which is about these servers, is one for this administrator.

        Raises:
            Problem: it is not, or a server is none that it knows of.
        """
        if self.tenant is None:
            return
        if operation not in _OPEN:
            raise _operators("this concerns the whole gateway")
        for server in servers:
            if server not in self.servers:
                raise unknown_server(server, self.servers)

    def sees(self, server: object) -> bool:
        """Tell whether it has to do with a server."""
        return self.tenant is None or server in self.servers

    def hears(self, tenant: str, server: str | None) -> bool:
        """Tell whether it hears of what somebody of a tenant did, or happened to a server."""
        return self.tenant is None or tenant == self.tenant or server in self.servers

    def knows(self, quota: Quota) -> bool:
        """Tell whether a quota is its tenant's alone."""
        return self.tenant is None or quota.tenants == (self.tenant,)

    def about(self, stop: Stop) -> bool:
        """Tell whether a stop is about its tenant, or anything of that."""
        if self.tenant is None or stop.tenant == self.tenant:
            return True
        return (stop.scope is StopScope.TENANT and stop.name == self.tenant) or stop.server in self.servers

    def stopping(self, scope: StopScope, name: str, server: str) -> str:
        """See that something is its to stop, and give the tenant to which that is confined.

        Raises:
            Problem: it is not.
        """
        if self.tenant is None:
            return ""
        if scope is StopScope.ALL:
            raise _operators("everything is not this tenant's to stop")
        if scope is StopScope.TENANT and name != self.tenant:
            raise _operators(f"administrators of {self.tenant} stop their own tenant only")
        if server and server not in self.servers:
            raise unknown_server(server, self.servers)
        return self.tenant

    def whom(self, tenant: str | None) -> str:
        """Give the tenant of those whom something is asked about; its own where none is said.

        Raises:
            Problem: it is another's.
        """
        if self.tenant is None:
            return "default" if tenant is None else tenant
        if tenant is not None and tenant != self.tenant:
            raise _operators("that is not about principals of this tenant")
        return self.tenant

    def may_hold(self, text: str) -> bool:
        """Tell whether a text, such as what a policy for all says, names nothing that is another tenant's."""
        if not self.others:
            return True
        names = "|".join(re.escape(name) for name in sorted(self.others))
        return re.search(rf"(?<![A-Za-z0-9])(?:{names})(?![A-Za-z0-9])", text) is None

    def lifting(self, stop: Stop) -> None:
        """See that a stop that it knows of is its to take back.

        Raises:
            Problem: the operator made it.
        """
        if self.tenant is not None and stop.tenant != self.tenant:
            raise _operators("this stop was made by the operator")


EVERYTHING = Sight()
"""What the operator sees."""


def sight_of(actor: Actor, tenants: Tenants) -> Sight:
    """Give what an administrator sees by these tenants."""
    tenant = actor.principal.tenant
    if actor.via == "control" or tenants.operates(tenant):
        return EVERYTHING
    theirs = [each for each in tenants if each.name != tenant]
    others = {name for each in theirs for name in (each.name, *each.servers)}
    return Sight(tenant, tenants.own(tenant).servers, frozenset(others))


def servers_in(path: Mapping[str, object], query: Mapping[str, str], operation: str) -> list[str]:
    """Give the servers that a request names."""
    if operation == "audit":
        return []  # it is asked of what the tenant may see in any case
    named = [] if operation == "signal" else [str(path["name"])] if "name" in path else []
    return [*named, *([query["server"]] if "server" in query else [])]


def _operators(what: str) -> Problem:
    return Problem(
        403, "forbidden", f"{what}: that is for administrators of the gateway, of the tenant default"
    )
