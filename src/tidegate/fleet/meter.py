"""Meter: how the calls of one version of a server went, by slices of time. Reads no clock on the path of a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_SLICE, _KEPT = 5.0, 12
"""Seconds of a slice, and how many are kept: the last minute."""
_MOST = 100_000
"""Calls that are counted in one slice; of more, the first are forgotten."""
_SAMPLE = 256
"""Times that are kept of one slice."""


@dataclass(frozen=True, slots=True)
class _Slice:
    begun: float
    calls: int
    failures: int
    errors: int
    times: Sequence[float]


@dataclass(frozen=True, slots=True)
class Counted:
    """Calls of some time."""

    calls: int
    failures: int
    errors: int
    times: Sequence[float]
    """A sample of how long they took, in order of length."""


class Meter:
    """Counts calls, and how long they took."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._times: deque[float] = deque(maxlen=_MOST)
        self.took = self._times.append
        """Notes how long a call took: all that is done on its path."""
        self.failures = self.errors = 0
        """Of the present slice."""
        self.all_calls = self.all_failures = self.all_errors = 0
        """Of the slices before."""
        self._now = now
        self._begun = now()
        self._slices: deque[_Slice] = deque(maxlen=_KEPT)
        self._ever: deque[Sequence[float]] = deque(maxlen=_SAMPLE)

    def turn(self) -> None:
        """Begin a new slice where the present one is old enough. To be called about once a second."""
        now = self._now()
        if now - self._begun >= _SLICE:
            if self._times or self.failures or self.errors:
                times = sorted(self._times)
                calls = len(times)
                sample = tuple(times[:: max(1, -(-calls // _SAMPLE))])
                self._slices.append(_Slice(self._begun, calls, self.failures, self.errors, sample))
                self._ever.append(sample)
                self.all_calls += calls
                self.all_failures += self.failures
                self.all_errors += self.errors
                self._times.clear()
                self.failures = self.errors = 0
            self._begun = now

    def last(self, seconds: float) -> Counted:
        """Give what came in the last seconds, to within a slice."""
        since = self._now() - seconds - _SLICE
        slices = [each for each in self._slices if each.begun > since]
        times = [time for each in slices for time in each.times] + list(self._times)
        return Counted(
            sum(each.calls for each in slices) + len(self._times),
            sum(each.failures for each in slices) + self.failures,
            sum(each.errors for each in slices) + self.errors,
            sorted(times),
        )

    def ever(self) -> Counted:
        """Give what came since the meter was made; of the times, those of the last slices with calls."""
        times = [time for each in self._ever for time in each] + list(self._times)
        return Counted(
            self.all_calls + len(self._times),
            self.all_failures + self.failures,
            self.all_errors + self.errors,
            sorted(times),
        )
