"""Watcher: whom a pool tells of what happens in it, and asks whether there may be more. The fleet is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tidegate.fleet.workload import Workload
from tidegate.protocol.codec import Object

if TYPE_CHECKING:
    from tidegate.fleet.pool import Pool


class Watcher(Protocol):
    """Whom a pool tells: the fleet."""

    def pool_changed(self, pool: Pool, workload: Workload) -> None:
        """A workload's state changed."""
        ...

    def pool_notified(self, pool: Pool, workload: Workload, method: str, params: Object) -> None:
        """A server sent a notification that belongs to no call."""
        ...

    def remember_pool(self, pool: Pool) -> None:
        """Keep what was learned of the server, for the next gateway process."""
        ...

    def remember(self, workload: Workload) -> None:
        """Keep what a ready or claimed workload is, for the next gateway process."""
        ...

    def forget(self, workload_id: str) -> None:
        """Keep it no more."""
        ...

    def admit(self, pool: Pool, sharing: str, *, called: bool) -> None:
        """Say whether one more workload may be, or raise `Overloaded`; for a call, what is idle may end for it."""
        ...

    def admit_again(self, pool: Pool, workload: Workload) -> None:
        """Say whether one that ended may be started again, or raise `Overloaded`."""
        ...
