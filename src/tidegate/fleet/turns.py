"""Turns: one holder at a time on a workload of which it cannot be told whom its questions are for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.domain.errors import Overloaded, ServerUnavailable

_MOST_WAITING = 64
"""Calls that wait for their turn on one workload; one more is refused."""
TURN = 5.0
"""Seconds that another may have waited before whose turn it is gets no further calls in. Until then those that
belong together, as a tool called to answer a question of another, do not wait for each other."""


@dataclass(slots=True)
class _Waiter:
    holder: str
    since: float
    let_in: asyncio.Future[None]


class Turns:
    """Whose turn it is, and who is next. `others` calls are on the workload already, whoever made them."""

    def __init__(self, others: int, now: Callable[[], float]) -> None:
        self._now = now
        self._others = others
        self._holder: str = ""
        self._count = 0
        self._queue: deque[_Waiter] = deque()

    def enter(self, holder: str) -> bool:
        """Take a place, where it is this holder's turn or nobody's."""
        if self._others or (self._count and holder != self._holder) or self._overdue():
            return False
        self._holder = holder
        self._count += 1
        return True

    async def wait(self, holder: str, server: str, timeout: float) -> None:
        """Take a place when it is this holder's turn, first come first served.

        Raises:
            Overloaded: too many wait already.
            ServerUnavailable: it was not, within `timeout` seconds.
        """
        self._queue = deque(each for each in self._queue if not each.let_in.done())
        if len(self._queue) >= _MOST_WAITING:
            raise Overloaded(
                f"server {server} takes the calls of one session at a time, and {len(self._queue)} wait"
            )
        waiter = _Waiter(holder, self._now(), asyncio.get_running_loop().create_future())
        self._queue.append(waiter)
        try:
            await asyncio.wait({waiter.let_in}, timeout=max(0.0, timeout))
        except asyncio.CancelledError:
            self._leave_queue(waiter)
            raise
        if not waiter.let_in.done():
            self._leave_queue(waiter)
            raise ServerUnavailable(
                f"server {server} takes the calls of one session at a time, and another's went on for "
                f"{timeout:.0f} s; nothing was called"
            )

    def leave(self) -> None:
        """Give a place back."""
        self._count -= 1
        self._hand_over()

    def other_left(self) -> None:
        """Learn that one of those who were there before there were turns has gone."""
        self._others -= 1
        self._hand_over()

    def _overdue(self) -> bool:
        return any(not each.let_in.done() and self._now() - each.since >= TURN for each in self._queue)

    def _leave_queue(self, waiter: _Waiter) -> None:
        if waiter.let_in.done():
            self.leave()  # let in and given up in the same turn of the loop
        else:
            waiter.let_in.cancel()
            self._hand_over()

    def _hand_over(self) -> None:
        while self._queue and not self._others:
            first = self._queue[0]
            if not first.let_in.done():
                if self._count and first.holder != self._holder:
                    return
                self._holder = first.holder
                self._count += 1
                first.let_in.set_result(None)
            self._queue.popleft()
