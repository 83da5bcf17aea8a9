"""Judge: whether a new version of a server does as well as the one before it.

Pure: numbers in, a verdict with its reason out. It knows no clock, and acts on nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegate.domain.server import Rollout

PATIENCE = 10.0
"""How many times `watch` the calls are waited for that a version is judged by."""
_NOISE = 0.01
"""Seconds by which one p95 may be above another by chance: a factor of next to nothing is nothing."""


_TINY = 1e-9
"""What the last digits of a share may be off by."""


class Verdict(StrEnum):
    """What is to be done."""

    GO_ON = "go on"
    WAIT = "wait"
    TAKE_BACK = "take back"


@dataclass(frozen=True, slots=True)
class Seen:
    """How the calls of one version went."""

    calls: int = 0
    failures: int = 0
    p95: float | None = None
    """Seconds; None where nothing was called."""

    @property
    def share(self) -> float:
        """Share of the calls that failed."""
        return self.failures / self.calls if self.calls else 0.0

    def since(self, before: Seen) -> Seen:
        """Give what came after `before` was seen; the p95 stays that of all."""
        return Seen(max(0, self.calls - before.calls), max(0, self.failures - before.failures), self.p95)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and why."""

    verdict: Verdict
    reason: str


def judge(new: Seen, old: Seen, how: Rollout, watched: float) -> Judgement:
    """Compare the new version with the old after `watched` seconds.

    So many failures that the least number of calls cannot make up for them are enough at once; for
    anything else `watch` has to pass, and there have to be `calls` calls or `PATIENCE` times `watch`.
    """
    by = max(new.calls, how.calls, 1)
    if _fails(new.failures / by, old.share, how):
        return Judgement(Verdict.TAKE_BACK, _failing(new, old))
    if watched < how.watch:
        return Judgement(Verdict.WAIT, f"watched for {watched:.0f} s of {how.watch:g} s")
    if new.calls < how.calls and watched < PATIENCE * how.watch:
        return Judgement(Verdict.WAIT, f"{new.calls} calls of the {how.calls} that it is judged by")
    if new.calls and _fails(new.share, old.share, how):
        return Judgement(Verdict.TAKE_BACK, _failing(new, old))
    if new.calls < how.calls:
        return Judgement(
            Verdict.GO_ON, f"{new.calls} calls in {watched:.0f} s, {new.failures} of them failed"
        )
    if _slow(new, old, how):
        return Judgement(
            Verdict.TAKE_BACK,
            f"p95 of its calls is {_ms(new.p95)}, {how.latency:g} times or more that of the old ({_ms(old.p95)})",
        )
    told = f"{new.calls} calls, {new.failures} failed, p95 {_ms(new.p95)}"
    return Judgement(
        Verdict.GO_ON, f"{told}; the old: {old.calls} calls, {old.failures} failed, p95 {_ms(old.p95)}"
    )


def _fails(share: float, of_old: float, how: Rollout) -> bool:
    return share - of_old > how.errors + _TINY


def _slow(new: Seen, old: Seen, how: Rollout) -> bool:
    if new.p95 is None or old.p95 is None or old.calls < how.calls:
        return False
    return new.p95 >= how.latency * old.p95 and new.p95 - old.p95 > _NOISE


def _failing(new: Seen, old: Seen) -> str:
    return f"{new.failures} of its {new.calls} calls failed, and {old.failures} of {old.calls} of the old"


def _ms(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1000:.0f} ms"
