"""Refusals before authentication: a few a minute are written, the others are counted.

Anyone who reaches the port can cause them, so they must not be able to fill the disk.
"""

from __future__ import annotations

SAMPLES = 5
"""Refusals written whole, a minute: enough to see who and how."""
_MINUTE_US = 60_000_000
_MAX_REASONS = 32
NEVER = 1 << 62


class Strangers:
    """Counts refusals by reason and minute."""

    def __init__(self) -> None:
        self._minute: int = -1
        self._written: int = 0
        self._counts: dict[str, int] = {}
        self.due: int = NEVER
        """When the counts are to be written, in microseconds; `NEVER` where there are none."""

    def sample(self, reason: str, now_us: int) -> bool:
        """Count a refusal; tell whether it is one to be written. Counts that are due are taken first."""
        minute = now_us // _MINUTE_US
        if minute != self._minute:
            self._minute, self._written = minute, 0
        if self._written < SAMPLES:
            self._written += 1
            return True
        if reason not in self._counts and len(self._counts) >= _MAX_REASONS:
            reason = "other"
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self.due = min(self.due, (minute + 1) * _MINUTE_US)
        return False

    @property
    def pending(self) -> bool:
        """Whether there are counts that were not written."""
        return bool(self._counts)

    def peek(self) -> dict[str, object]:
        """Give the counts to be written: the minute they began in (Unix µs) and how many for each reason."""
        return {"minute": self.due - _MINUTE_US, "reasons": dict(self._counts)}

    def clear(self) -> None:
        """Forget the counts that were written."""
        self._counts.clear()
        self.due = NEVER
