"""Losses: whose workload was replaced, so that each who relied on what it remembered is told once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

_KEPT = 10_000
"""Sharing keys with a loss, per server; the oldest go first."""
_TOLD = 10_000
"""Sessions that were told of one loss."""


@dataclass(frozen=True, slots=True)
class Asker:
    """A legacy session that calls: one that began after a loss lost nothing."""

    session: str
    since: float
    """Unix seconds."""


@dataclass(slots=True)
class _Loss:
    when: float
    told: set[str] = field(default_factory=set[str])


class Losses:
    """The losses of one server's workloads, by sharing key."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives Unix seconds."""
        self._now = now
        self._losses: OrderedDict[str, _Loss] = OrderedDict()

    def note(self, sharing: str) -> None:
        """Note that what the workload of this key remembered is gone."""
        self._losses.pop(sharing, None)
        self._losses[sharing] = _Loss(self._now())
        if len(self._losses) > _KEPT:
            self._losses.popitem(last=False)

    def concern(self, sharing: str, asker: Asker | None) -> bool:
        """Tell whether the caller has still to be told. Without a session, the first who asks is."""
        loss = self._losses.get(sharing)
        if loss is None:
            return False
        if asker is None:
            return "" not in loss.told
        return asker.since < loss.when and asker.session not in loss.told

    def tell(self, sharing: str, asker: Asker | None) -> None:
        """Note that the caller is told."""
        loss = self._losses.get(sharing)
        if loss is not None and len(loss.told) < _TOLD:
            loss.told.add("" if asker is None else asker.session)
