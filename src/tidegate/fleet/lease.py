"""Lease: the right to one place on a channel, for one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from tidegate.channels.channel import Channel, Party
from tidegate.fleet.turns import Turns
from tidegate.fleet.workload import Workload

if TYPE_CHECKING:
    from tidegate.fleet.pool import Pool


class Lease(Struct, eq=False):
    """The right to one place on a channel, for one call. Taken at once, and released once.

    One without a holder is the gateway's own, to watch for changes: it takes no turn, and nobody waits for it.
    """

    workload: Workload
    channel: Channel
    _pool: Pool
    _held: bool
    """Whether there is a holder."""
    _turns: Turns | None
    """What has let it in, where one holder may call at a time."""
    _party: Party | None = None
    """Who may be asked something while it holds."""

    def take(self) -> Lease:
        """Count it. Give itself."""
        workload = self.workload
        if not self._held:
            workload.own += 1
        if self._party is not None:
            workload.callers.append(self._party)
        workload.in_flight += 1
        workload.calls += 1
        return self

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def done(
        self, ok: bool, seconds: float, error: bool = False, reason: str = "", principal: str = ""
    ) -> None:
        """Tell how the call went: whether an answer came, after how long, and whether it is an error.

        `reason` is why none came; `principal` the key of whoever called, which matters where none did.
        """
        workload = self.workload
        workload.took(seconds)
        if error:
            workload.track.meter.errors += 1
        if not ok or not workload.vitals.clear:
            self._pool.judge(workload, ok, reason or "a call failed", principal)

    def release(self) -> None:
        """Give the place back."""
        workload, pool = self.workload, self._pool
        workload.in_flight -= 1
        workload.last_used = pool.clock()
        if self._party is not None:
            workload.callers.remove(self._party)
        if not self._held:
            workload.own -= 1
        elif self._turns is not None:
            self._turns.leave()
        elif workload.turns is not None:
            workload.turns.other_left()
        if pool.follows:
            pool.released(self)
