"""Books: what is kept, recorded and counted of rollouts. Decides nothing of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from tidegate.domain.errors import JournalUnavailable, StateError
from tidegate.domain.record import RecordKind
from tidegate.domain.server import ServerSpec
from tidegate.fleet.launcher import Launcher
from tidegate.fleet.specs import SpecKeeper
from tidegate.ports.recorder import Recorder
from tidegate.ports.state import State
from tidegate.telemetry import Metrics, log

PREFIX = "rollout/"
"""Of the keys in the state store; a server's name follows."""


class Phase(StrEnum):
    """Where a rollout is, or how it ended."""

    UNDER_WAY = "under_way"
    UNDOING = "undoing"
    """The version before is brought in again."""
    TAKING_BACK = "taking_back"
    DRAINING = "draining"
    """All calls are on the new version; what is left of the old ends."""
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"
    QUARANTINED = "quarantined"
    """It failed, and the version before has rights that it takes away: nothing runs until somebody decides."""


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a server's last rollout."""

    phase: str
    strategy: str
    old: str
    """Digest of the version before."""
    new: str
    """Digest of the version that the settings name."""
    spec: bytes
    """The version before, sealed: the settings do not name it any more."""
    count: int
    """Workloads that there were to replace."""
    began: float
    """Unix seconds."""
    changed: float
    reason: str | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A version that is to be brought in."""

    spec: ServerSpec
    launcher: Launcher
    undoing: str | None = None
    """Why it comes in place of the one that the settings name, where it does."""

    @property
    def digest(self) -> str:
        """Digest of its spec."""
        return self.spec.digest()


@dataclass(frozen=True, slots=True)
class Books:
    """Where a rollout is kept, recorded and counted."""

    state: State
    recorder: Recorder
    metrics: Metrics
    keeper: SpecKeeper
    now: Callable[[], float]
    """Unix seconds."""
    changed: Callable[[str], None]
    """Told of a server whose version is another one now."""

    async def keep(self, server: str, kept: Kept | None) -> None:
        """Keep where a server's rollout is."""
        value = None if kept is None else msgspec.json.encode(kept)
        try:
            await self.state.put(PREFIX + server, value)
        except StateError as error:
            log().error("state.failed", reason=str(error))

    def record(self, step: str, fields: Mapping[str, object]) -> None:
        """Record and log a step."""
        told = {name: value for name, value in fields.items() if value is not None}
        match step:
            case "began":
                log().info("rollout.began", **told)
            case "done":
                log().info("rollout.done", **told)
            case "rolled_back" | "superseded":
                log().warning("rollout.rolled_back", **told)
            case "quarantined":
                log().error("rollout.quarantined", **told)
            case _:
                log().info("rollout.stepped", step=step, **told)
        try:
            self.recorder.event(RecordKind.ROLLOUT, {"event": step, **told})
        except JournalUnavailable as error:
            log().error("journal.unavailable", reason=str(error))
