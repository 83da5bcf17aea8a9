"""Blame: whose calls a shared server fails or ends with. One principal alone is refused, not the server taken from all.

Pure: told what happened, it says who is refused, and for how long.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Set
from math import ceil

from tidegate.domain.errors import ServerUnavailable
from tidegate.domain.server import Health

_LONGEST = 300.0
"""Seconds that a principal is refused at most at one time."""
_KEPT = 1000
"""Principals that were refused of which it is known; the oldest go first."""
_BREAKS = 16
"""Ends of workloads that are remembered."""


class Blame:
    """Who may not call one server for a while, and why."""

    def __init__(
        self, server: str, now: Callable[[], float], changed: Callable[[], None], *, alone: bool = False
    ) -> None:
        """`now` is the loop's time; `changed` is called when the first comes to be refused, or the last no more.

        `alone`: whether all who may call are one, so that there is nobody to blame.
        """
        self.alone = alone
        self.refused: dict[str, str] = {}
        """Who is refused now, and why."""
        self._server = server
        self._now = now
        self._changed = changed
        self._before: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """How often each was refused lately, and loop time of the end of the last time."""
        self._breaks: deque[tuple[float, Set[str]]] = deque(maxlen=_BREAKS)

    def check(self, principal: str) -> None:
        """Refuse a call of somebody who may not.

        Raises:
            ServerUnavailable: it is one. `retryAfter` says when to come again.
        """
        why = self.refused.get(principal)
        if why is None:
            return
        left = self._before[principal][1] - self._now()
        if left > 0:
            after = ceil(left)
            raise ServerUnavailable(
                f"server {self._server} takes no calls of yours for now: {why}; nothing was called; "
                f"try again in {after} s",
                data={"retryAfter": after},
            )

    def refuse(self, principal: str, health: Health, why: str) -> bool:
        """Refuse a principal's calls for a while, each time for twice as long; False where they are already."""
        if principal in self.refused:
            return False
        now = self._now()
        times = self._times(principal, health)
        until = now + min(_LONGEST, health.eject * 2 ** min(times, 10))
        self._before[principal] = times + 1, until
        self._before.move_to_end(principal)
        self.refused[principal] = why
        if len(self._before) > _KEPT:
            oldest, _ = self._before.popitem(last=False)
            self.refused.pop(oldest, None)
        if len(self.refused) == 1:
            self._changed()
        return True

    def broke(self, culprits: Set[str], health: Health) -> Set[str]:
        """Learn that a workload ended, and whose calls failed with it; give those who are to blame.

        That is who was there each of the last times, as many as failures eject a workload; and who was refused
        before, where nobody else was there.
        """
        if not culprits:
            return frozenset()
        now = self._now()
        self._breaks.append((now, culprits))
        if len(culprits) == 1 and all(self._times(each, health) for each in culprits):
            return culprits
        last = list(self._breaks)[-min(health.failures, health.restarts + 1) :]
        if len(last) < min(health.failures, health.restarts + 1) or now - last[0][0] > health.window:
            return frozenset()
        return frozenset(culprits).intersection(*(who for _, who in last))

    def forgive(self, since: float) -> None:
        """Blame nobody for what ended since then, in loop time: it was not the calls."""
        self._breaks = deque((each for each in self._breaks if each[0] < since), maxlen=_BREAKS)

    def turn(self) -> None:
        """Note that time passes."""
        now = self._now()
        over = [each for each in self.refused if self._before[each][1] <= now]
        for each in over:
            del self.refused[each]
        if over and not self.refused:
            self._changed()

    def _times(self, principal: str, health: Health) -> int:
        times, until = self._before.get(principal, (0, 0.0))
        return times if self._now() - until < health.window else 0


class Restarts:
    """The restarts of one workload of some time, with those whose calls failed before each."""

    def __init__(self) -> None:
        self._times: deque[tuple[float, Set[str]]] = deque()

    def are_often(self, now: float, health: Health, culprits: Set[str]) -> bool:
        """Tell whether one more were too many, and count it where it is not."""
        while self._times and now - self._times[0][0] > health.window:
            self._times.popleft()
        if len(self._times) >= health.restarts:
            return True
        self._times.append((now, culprits))
        return False

    def excuse(self, principals: Set[str]) -> None:
        """Let those not count any more that are put down to somebody."""
        self._times = deque(each for each in self._times if each[1].isdisjoint(principals))

    def forgive(self, since: float) -> None:
        """Let those not count any more that were since then, in loop time."""
        while self._times and self._times[-1][0] >= since:
            self._times.pop()

    def clear(self) -> None:
        """Begin anew."""
        self._times.clear()
