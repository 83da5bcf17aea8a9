"""Group: the replicas of one key, and which of them gets a call."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from tidegate.domain.workload import WorkloadState
from tidegate.fleet.balance import Spread
from tidegate.fleet.track import Track
from tidegate.fleet.vitals import EJECTED
from tidegate.fleet.workload import HOPELESS, Workload


class Group:
    """The workloads of one key, where that is more than a matter of looking it up."""

    __slots__ = ("_spread", "key", "limit", "members")

    def __init__(self, key: str, spread: Spread) -> None:
        self.key = key
        self.members: Sequence[Workload] = ()
        self.limit: int | None = None
        """Most calls under way at one of them."""
        self._spread = spread

    def pick(self) -> Workload | None:
        """Give the one with the fewest calls under way, of those that may have one more; None where there is none.

        Where there are several versions, the next call is first of all that of one of them.
        """
        found = [w for w in self.members if w.channel is not None and self._takes(w)]
        if len(found) > 1:
            shares = {w.track: w.track.share for w in found if w.track.share > 0}
            if shares and any(w.track is not found[0].track for w in found):
                found = _of(self._spread.choose(shares), found)
            return min(found, key=_load)
        return found[0] if found else None

    def waits_for(self) -> Workload | None:
        """Give one that may become ready: a paused one first, which is the quickest."""
        coming = [w for w in self.members if w.channel is None and not w.held and not w.draining]
        coming = [w for w in coming if w.state not in HOPELESS]
        return min(coming, key=_distance, default=None)

    def ejected_for(self, now: float) -> tuple[float, str] | None:
        """Give for how long none of them gets a call, and why, where all that are there are ejected."""
        there = [w for w in self.members if w.channel is not None and not w.held and not w.draining]
        if not there or any(w.health != EJECTED for w in there):
            return None
        first = min(there, key=lambda w: w.vitals.until)
        return max(1.0, ceil(first.vitals.until - now)), first.health_reason or "its calls fail"

    def _takes(self, workload: Workload) -> bool:
        if workload.draining or workload.held or not workload.vitals.takes:
            return False
        return self.limit is None or workload.in_flight - workload.own < self.limit


def _of(track: Track, found: Sequence[Workload]) -> list[Workload]:
    return [w for w in found if w.track is track]


def _load(workload: Workload) -> tuple[int, float]:
    return workload.in_flight, workload.last_used


def _distance(workload: Workload) -> int:
    if workload.state is WorkloadState.PAUSED:
        return 0
    return 1 if workload.state is WorkloadState.STARTING else 2
