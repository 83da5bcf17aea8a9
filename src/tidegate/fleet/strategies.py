"""Strategies: in which order a change is brought in. Each ends with the new version having all calls.

What is left of the old is then drained by whoever called; what breaks off is taken back there too.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping

from tidegate.domain.server import Strategy
from tidegate.fleet.change import Change, ready


async def bring_in(change: Change) -> None:
    """Bring a change in as its server says.

    Raises:
        TakenBack: it is not to be.
    """
    if change.replicated:
        await _REPLICATED[change.how.strategy](change)
    else:
        await _keyed(change)


async def _rolling(change: Change) -> None:
    """One after the other: a new one is ready before an old one goes."""
    for number in range(max(1, ready(change.pool, change.new)), change.count + 1):
        await change.bring_up(number)
        change.give(number / change.count)
        if number < change.count:
            await change.replace(change.count - number)
    change.promote()


async def _blue_green(change: Change) -> None:
    """All new ones, then all calls at once; the old ones stand by meanwhile."""
    await change.bring_up(change.count)
    change.promote()
    await change.watch()


async def _canary(change: Change) -> None:
    """A share of the calls first, and the rest once it is judged good."""
    await change.bring_up(max(1, math.ceil(change.count * change.how.share)))
    change.give(change.how.share)
    await change.watch()
    await _rolling(change)


async def _keyed(change: Change) -> None:
    """Whoever is new gets the new version, of a canary a share of them; the others go over as they are drained."""
    await change.bring_up(1)
    if change.how.strategy is Strategy.CANARY:
        change.give(change.how.share)
        await change.watch()
    change.promote()
    if change.how.strategy is Strategy.BLUE_GREEN:
        await change.watch()


_REPLICATED: Mapping[Strategy, Callable[[Change], Awaitable[None]]] = {
    Strategy.ROLLING: _rolling,
    Strategy.BLUE_GREEN: _blue_green,
    Strategy.CANARY: _canary,
}
