"""Halt: what is under way when something is stopped: cancelled, ended, or quiet from now on. Refuses nothing new."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.access.stops import Stops, refusal
from tidegate.domain.stop import Stop
from tidegate.gateway.catalog import Catalog
from tidegate.gateway.inquiries import Inquiries
from tidegate.gateway.parked import ParkedCalls
from tidegate.gateway.running import Running
from tidegate.gateway.streams import Streams
from tidegate.gateway.subscriptions import Subscriptions


class Halt:
    """Ends what stops concern."""

    def __init__(
        self,
        stops: Stops,
        running: Running,
        parked: ParkedCalls,
        inquiries: Inquiries,
        streams: Streams,
        subscriptions: Subscriptions,
        catalog: Catalog,
    ) -> None:
        self._stops = stops
        self._running = running
        self._parked = parked
        self._inquiries = inquiries
        self._streams = streams
        self._subscriptions = subscriptions
        self._catalog = catalog
        catalog.stops = stops

    def changed(self, added: Sequence[Stop], gone: Sequence[Stop]) -> None:
        """Act on stops that came in force. What was ended is not begun again by those that are no more."""
        if added:
            self._end()
        self._catalog.mark()

    def _end(self) -> None:
        stops = self._stops
        for call in list(self._running.calls.values()):
            stop = stops.check(call.principal, call.target)
            if stop is not None and call.ended is None and call.task is not None:
                call.ended = refusal(stop, call.target)
                call.task.cancel()
        self._parked.end(stops.check)
        self._inquiries.end(stops.check_server)
        self._streams.end(stops.check)
        self._subscriptions.end(stops.check)
