"""Outage: engines that could not decide something, and when to ask them again whether they can.

What was made of their denials meanwhile is to be made anew then. Asks nobody itself.
"""

from __future__ import annotations

from tidegate.domain.principal import Principal
from tidegate.domain.target import Target

FIRST, LONGEST = 1.0, 5.0
"""Seconds until engines are asked again, at first and at most."""
_STEADY = 60.0
"""Seconds that engines go on deciding, after which the next failure is one by itself."""

Asked = tuple[Principal, Target]


class Outage:
    """What is known of engines that fail at one endpoint. Times are of one clock that never goes back."""

    def __init__(self) -> None:
        self._asked: Asked | None = None
        """The first question since they failed that they did not answer."""
        self._again = 0.0
        self._pause = FIRST
        self._ended = float("-inf")

    def met(self, asked: Asked, now: float) -> None:
        """Note that something was denied since an engine failed."""
        if self._asked is not None:
            return
        # Where they fail again soon after, clients must not be told every second that their lists are others.
        self._pause = min(LONGEST, 2 * self._pause) if now < self._ended + _STEADY else FIRST
        self._asked, self._again = asked, now + self._pause

    def due(self, now: float) -> Asked | None:
        """Give what to ask them again, once it is time to."""
        return self._asked if now >= self._again else None

    def goes_on(self, now: float) -> None:
        """Note that they fail still."""
        self._pause = min(LONGEST, 2 * self._pause)
        self._again = now + self._pause

    def ended(self, now: float) -> None:
        """Note that they decide again."""
        self._asked, self._ended = None, now
