"""Sizing: how many replicas of a server there are to be, judged from what is asked of it.

Pure: load and time come in, a count with its reason comes out. More come when more were needed all through
`up_after`, fewer when fewer were enough all through `down_after`; so a load that stays the same, or swings
faster than that, moves nothing back and forth.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from tidegate.domain.server import Replicas, Scaling

LATENCY_WINDOW = 60.0
"""Seconds of calls that a latency is told of: after a change it says something about it only when they are over."""
_GAP = 10.0
"""Seconds without a look after which what was seen before counts no more: the machine may have slept."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a server's replicas now."""

    in_flight: int = 0
    """Calls under way."""
    waiting: int = 0
    """Calls that wait for a place."""
    wait: float = 0.0
    """Seconds that calls waited lately (p95)."""
    latency_p95: float | None = None
    """Seconds that calls took lately; None where there were none."""
    ready: int = 0
    """Replicas that take calls."""
    last_used: float = 0.0
    """When the last call ended, by the clock of `now`."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The least there is to be now, and why."""

    count: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many there are to be, and why."""

    wanted: int
    reason: str


def recommend(load: Load, scaling: Scaling, wanted: int, each: int) -> Verdict:
    """Give how many the load asks for at this moment, where `wanted` are meant to be and one takes `each` calls."""
    busy = load.in_flight + load.waiting
    count, reason = math.ceil(busy / each), f"{busy} calls at once, {each} for one"
    if load.waiting and load.wait > scaling.wait:
        # What is on its way may be all that is needed.
        more = wanted + max(1, wanted // 2) if load.ready >= wanted else wanted
        if more > count:
            count, reason = more, f"calls wait {load.wait:.2g} s for a place"
    if scaling.latency is not None and busy and load.latency_p95:
        # By its share at the most, and never more than there are calls: one alone is made no faster by another.
        share = load.latency_p95 / scaling.latency
        slow = min(busy, 2 * wanted, math.ceil(wanted * share))
        if slow > count:
            count, reason = slow, f"calls take {load.latency_p95:.2g} s (p95)"
    return Verdict(count, reason)


class Sizing:
    """The judgement over time on one server."""

    def __init__(self, replicas: Replicas, scaling: Scaling, idle: float, wanted: int) -> None:
        """`idle`: seconds without a call after which none is needed where none may be; 0: never."""
        self.wanted = wanted
        self._replicas = replicas
        self._scaling = scaling
        self._idle = idle
        self._changed = -math.inf
        self._least = Extreme(scaling.up_after, most=False)
        self._most = Extreme(scaling.down_after, most=True)

    def decide(self, load: Load, floor: Floor, each: int, now: float) -> Verdict:
        """Give how many there are to be from `now` on (seconds of any clock that does not jump)."""
        high = max(1, self._replicas.max)
        low = min(high, max(self._replicas.min, floor.count))
        busy = load.in_flight + load.waiting > 0
        rested = self._idle > 0 and now - load.last_used > self._idle and not busy
        there = self.wanted > 0 or load.ready > 0  # a call brings one up before anybody judges
        if low == 0 and (busy or (there and not rested)):
            low = 1
        asked = recommend(load, self._scaling, self.wanted, each)
        if not self.wanted and low == 1:
            asked = Verdict(asked.wanted, "somebody called")
        if self._unsettled(now) and not load.waiting:
            count = math.ceil((load.in_flight + load.waiting) / each)
            asked = Verdict(max(count, min(asked.wanted, self.wanted)), asked.reason)
        count = min(high, max(low, asked.wanted))
        least, most = self._least.add(now, count), self._most.add(now, count)
        verdict = self._judge(Verdict(count, asked.reason), (low, high), (least, most), now)
        if floor.count >= low > self._replicas.min and verdict.wanted == low:
            verdict = Verdict(verdict.wanted, floor.reason)
        if verdict.wanted != self.wanted:
            self._changed = now
        self.wanted = verdict.wanted
        return verdict

    def _judge(
        self, asked: Verdict, bounds: tuple[int, int], seen: tuple[int | None, int | None], now: float
    ) -> Verdict:
        (low, high), (least, most), wanted = bounds, seen, self.wanted
        if wanted < low:
            return Verdict(low, "as few as there may be" if low == self._replicas.min else asked.reason)
        if wanted > high:
            return Verdict(high, "as many as there may be")
        if low == 0 < wanted and asked.wanted == 0:
            return Verdict(0, f"idle for {self._idle:g} s")
        if least is not None and least > wanted:
            return Verdict(least, asked.reason)
        after = self._scaling.down_after
        if most is not None and most < wanted and now - self._changed >= after:
            fewer = max(most, wanted // 2)  # half at a time: what comes back at once finds some
            return Verdict(fewer, f"no more than {most} needed for {after:g} s")
        return Verdict(wanted, "as it is")

    def _unsettled(self, now: float) -> bool:
        """Whether a latency may still be of before the last change."""
        return self._scaling.latency is not None and now - self._changed < LATENCY_WINDOW


class Extreme:
    """The least or the most of a value over the last seconds. Keeps no more than there are different values."""

    def __init__(self, seconds: float, *, most: bool) -> None:
        self._seconds = seconds
        self._sign = -1 if most else 1
        self._kept: deque[tuple[float, int]] = deque()
        self._since = self._last = -math.inf

    def add(self, now: float, value: int) -> int | None:
        """Take a value that holds from `now` on; give the extreme, or None before so many seconds were seen."""
        if now - self._last > max(self._seconds, _GAP):
            self._kept.clear()
            self._since = now
        self._last = now
        while self._kept and self._kept[-1][1] * self._sign >= value * self._sign:
            self._kept.pop()
        self._kept.append((now, value))
        while self._kept[0][0] < now - self._seconds:
            self._kept.popleft()
        return self._kept[0][1] if now - self._since >= self._seconds else None
