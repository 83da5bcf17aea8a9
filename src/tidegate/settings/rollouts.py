"""How a change of a server is brought in: the key `rollout` of a server."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictInt

from tidegate.domain.server import Rollout, Strategy
from tidegate.settings.base import Model
from tidegate.settings.values import Seconds

_ROLLOUT = Rollout()


class RolloutModel(Model):
    """How a change of what a server's workloads are made of is brought in."""

    strategy: Strategy = _ROLLOUT.strategy
    """`rolling`: one workload after the other. `blue-green`: all new ones first, then all calls at once. `canary`: a share of the calls first, judged, then the rest."""
    share: Annotated[float, Field(gt=0, le=0.5, strict=True)] = _ROLLOUT.share
    """Of the calls that go to a canary."""
    watch: Seconds = _ROLLOUT.watch
    """That the new is watched before the old goes (`blue-green`, `canary`)."""
    calls: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = _ROLLOUT.calls
    """Least calls that it is judged by; they are waited for up to ten times `watch`."""
    errors: Annotated[float, Field(ge=0, le=1, strict=True)] = _ROLLOUT.errors
    """Share of failed calls that it may have on top of that of the old; with more it is taken back."""
    latency: Annotated[float, Field(gt=1, le=1000, strict=True)] = _ROLLOUT.latency
    """Factor of the old's p95 at which it is taken back."""
    drain: Seconds = _ROLLOUT.drain
    """That calls under way on the old have to end; what remembers is drained key by key, up to this."""

    def noun(self) -> Rollout:
        """Give what it means."""
        return Rollout(
            self.strategy, self.share, self.watch, self.calls, self.errors, self.latency, self.drain
        )
