"""Tenant: a team with servers, roles and limits of its own, which nobody else sees. Says what is whose; decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tidegate.domain.role import Role

HOME = "default"
"""The tenant of whoever belongs to no other: of the local user, and of keys that say none. Its administrators are the
operator's. It is there without being declared."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant as declared."""

    name: str
    servers: tuple[str, ...] = ()
    """Names of the servers that are its own."""
    endpoints: tuple[str, ...] = ()
    """Paths of the endpoints that are its own."""
    roles: tuple[Role, ...] = ()
    """Those that its principals may have, beside the ones that all may have."""


@dataclass(frozen=True, slots=True)
class Tenants:
    """The tenants that are declared. Where none is, everything is everybody's, as far as rules allow."""

    declared: tuple[Tenant, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.declared)

    def __iter__(self) -> Iterator[Tenant]:
        return iter(self.declared)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, and that of the home tenant."""
        return tuple(dict.fromkeys((HOME, *(each.name for each in self.declared))))

    def knows(self, name: str) -> bool:
        """Tell whether principals may be of a tenant: of any, where none is declared."""
        return not self.declared or name in self.names

    def operates(self, name: str) -> bool:
        """Tell whether administrators of a tenant are the operator's: those of the home tenant, or all where there are
        no tenants."""
        return not self.declared or name == HOME

    def own(self, name: str) -> Tenant:
        """Give a tenant; one that is not declared has nothing of its own."""
        return next((each for each in self.declared if each.name == name), Tenant(name))

    def of_server(self, server: str) -> str | None:
        """Give whose a server is; None where it is nobody's alone."""
        return next((each.name for each in self.declared if server in each.servers), None)

    def of_endpoint(self, path: str) -> str | None:
        """Give whose an endpoint is; None where it is nobody's alone."""
        return next((each.name for each in self.declared if path in each.endpoints), None)


NO_TENANTS = Tenants()
