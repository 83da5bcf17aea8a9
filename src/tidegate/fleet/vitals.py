"""Vitals: whether a workload is well, by what its calls and probes show; and when it gets no calls. Pure."""

from __future__ import annotations

from collections.abc import Callable, Set

from tidegate.domain.server import Health

UNKNOWN, HEALTHY, SUSPECT, EJECTED = "unknown", "healthy", "suspect", "ejected"
_LONGEST = 300.0
"""Seconds that an ejection may come to by doubling."""
_MOST = 64
"""Principals that are told apart."""


class Vitals:
    """The health of one workload.

    Failures in a row make it suspect, then eject it for a while, each time for twice as long. After that it is
    given one call at a time (half open): one that goes well heals it, one that fails ejects it again.

    The last one that takes calls is not ejected for those of one principal alone (`sole`).
    """

    __slots__ = (
        "_changed", "_ejections", "_now", "_row", "_trial",
        "clear", "failures", "reason", "state", "until",
    )  # fmt: skip

    def __init__(self, now: Callable[[], float], changed: Callable[[], None]) -> None:
        """`now` is the loop's time; `changed` is called when `state` is another."""
        self.state = UNKNOWN
        self.reason: str | None = None
        self.failures = 0
        """In a row."""
        self.until = 0.0
        """Loop time of the end of its ejection."""
        self.clear = False
        """Whether one more success changes nothing: it need not be told."""
        self._ejections = 0
        self._row: set[str] = set()
        """Whose calls failed, since one went well; empty text: nobody knows, or the gateway's own probe."""
        self._trial: object = None
        self._now = now
        self._changed = changed

    @property
    def takes(self) -> bool:
        """Whether it may be given a call now."""
        return self.state != EJECTED or (self._trial is None and self._now() >= self.until)

    def begin_trial(self, lease: object) -> None:
        """Give an ejected workload the one call that it is tried with."""
        self._trial = lease

    def end_trial(self, lease: object) -> None:
        """Learn that a call is over, whatever came of it."""
        if self._trial is lease:
            self._trial = None

    def succeeded(self) -> None:
        """Learn that a call or probe was answered. Only a call heals what was ejected."""
        if self.state == EJECTED and self._now() < self.until:
            return  # begun before it was ejected
        self.failures, self._ejections, self._trial, self.clear = 0, 0, None, True
        self._row.clear()
        self._turn(HEALTHY, None)

    def failed(self, health: Health, reason: str, principal: str = "", *, last: bool = False) -> None:
        """Learn that a call or probe failed.

        `principal` is whose call it was, where that is known; `last`, whether no other takes the calls of its key.
        """
        self.failures += 1
        self.clear = False
        again = principal and self._row == {principal}
        if len(self._row) < _MOST:
            self._row.add(principal)
        if self.state == EJECTED:
            if self._now() >= self.until:  # half open
                if last and again:
                    self._ejections -= 1  # by one alone it is not kept from all for ever longer
                self._eject(health, reason)
                self._row = {principal}
        elif self.failures >= health.failures and not (last and self.sole):
            self._eject(health, f"{self.failures} failures in a row, the last: {reason}")
        else:
            self._turn(SUSPECT, reason)

    @property
    def sole(self) -> str:
        """The principal whose calls alone failed since one went well; empty where there are several, or none."""
        return next(iter(self._row)) if len(self._row) == 1 else ""

    def culprits(self) -> Set[str]:
        """Give the principals whose calls failed since one went well, once: it has ended, and they are judged."""
        row, self._row = self._row, set()
        return frozenset(row - {""})

    def renew(self) -> None:
        """Begin anew: it was brought up again, and is another one now."""
        self.failures, self._trial, self.clear, self.until = 0, None, False, 0.0
        self._row.clear()
        self._turn(UNKNOWN, None)

    def _eject(self, health: Health, reason: str) -> None:
        self.until = self._now() + min(_LONGEST, health.eject * 2 ** min(self._ejections, 10))
        self._ejections += 1
        self._trial = None
        self._turn(EJECTED, reason)

    def _turn(self, state: str, reason: str | None) -> None:
        before, self.state, self.reason = self.state, state, reason
        if before != state:
            self._changed()
