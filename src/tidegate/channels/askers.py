"""Askers: who may have caused what a server asks or logs on a pipe, where nothing names a call. No I/O.

Source: MCP 2025-11-25, basic/transports (stdio): a server's own request carries no id of ours. So it is for
somebody only where nobody else can have caused it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from tidegate.channels.channel import Asked, Notify, Outbound, Party
from tidegate.channels.deadlines import Pauses

GRACE = 30.0
"""Seconds for which a server may still work on what was cancelled or timed out, and for which somebody who was
there may still be meant."""
_MOST_ENDED = 64
"""Requests that ended unanswered and are remembered. With more within the grace, nobody can be told."""
_CROWD = (Party("crowd"), Party("another"))


class Flying(Protocol):
    """A request in flight."""

    outbound: Outbound
    pauses: Pauses | None
    """How long it waited for a person, once it has."""


class Askers:
    """Keeps who was active on a pipe.

    `flying` are the requests in flight by id, the latest last; `expected` gives those who wait for the workload;
    `now` gives seconds. The gateway's own requests have no holder and are nobody's.
    """

    def __init__(
        self,
        flying: Mapping[bytes, Flying],
        expected: Callable[[], Iterable[Party]],
        now: Callable[[], float],
    ) -> None:
        self._flying = flying
        self._expected = expected
        self._now = now
        self._holder = ""
        self._asked: Asked | None = None
        self._notify: Notify | None = None
        self._others = float("-inf")
        """When somebody else than the last holder was active for the last time."""
        self._ended: dict[bytes, tuple[float, Party]] = {}
        self._crowded = float("-inf")
        self._resumed = float("-inf")

    def resumed(self) -> None:
        """Learn that the server may still work on what a gateway before this one was asked for, and by whom."""
        self._resumed = self._now()

    def enter(self, outbound: Outbound) -> None:
        """Learn that a holder's request goes out."""
        if outbound.holder != self._holder:
            if self._holder:
                self._others = self._now()
            self._holder = outbound.holder
        self._asked, self._notify = outbound.asked, outbound.notify

    def leave(self, outbound: Outbound) -> None:
        """Learn that a holder's request was answered, or failed so that the server cannot work on it."""
        if outbound.holder != self._holder:
            self._others = self._now()

    def abandon(self, ident: bytes, outbound: Outbound) -> None:
        """Learn that a holder's request ended, and the server may still work on it."""
        self.leave(outbound)
        now = self._now()
        self._forget_ended(now)
        if len(self._ended) >= _MOST_ENDED:
            self._crowded = now + GRACE
        else:
            party = Party(outbound.holder, outbound.asked, outbound.notify)
            self._ended[ident] = (now + GRACE, party)

    def late(self, ident: bytes) -> None:
        """Learn that the answer to what had ended came after all."""
        self._ended.pop(ident, None)

    def candidates(self) -> list[Party]:
        """Give everybody who may be meant, each once: exactly one, or nobody can be told.

        The one without a name is whoever asked a gateway before this one. Those with something in flight, expected, or ended unanswered within the grace; without any, the last
        holder, if nobody else was active within it.
        """
        now = self._now()
        if now < self._crowded:
            return list(_CROWD)
        found = {party.holder: party for party in self._expected()}
        if now - self._resumed < GRACE:
            found[""] = Party("")
        self._forget_ended(now)
        for _, party in self._ended.values():
            _add(found, party.holder, party.asked, party.notify)
        for each in self._flying.values():
            outbound = each.outbound
            if outbound.holder:
                _add(found, outbound.holder, outbound.asked, outbound.notify)
        if not found and self._holder and now - self._others >= GRACE:
            return [Party(self._holder, self._asked, self._notify)]
        return list(found.values())

    def loggers(self) -> list[Party]:
        """Give those whose request in flight asked a modern server for log messages."""
        found: dict[str, Party] = {}
        for each in self._flying.values():
            outbound = each.outbound
            if outbound.log_level is not None:
                _add(found, outbound.holder, None, outbound.notify)
        return list(found.values())

    def _forget_ended(self, now: float) -> None:
        if self._ended:
            self._ended = {ident: each for ident, each in self._ended.items() if each[0] > now}


def _add(found: dict[str, Party], holder: str, asked: Asked | None, notify: Notify | None) -> None:
    """The latest of a holder's requests is asked; where it does not listen, an earlier one may."""
    before = found.get(holder)
    if before is not None:
        asked, notify = asked or before.asked, notify or before.notify
    found[holder] = Party(holder, asked, notify)
