"""EventWriter: an exchange as the connection that an event stream goes to."""

from __future__ import annotations

from tidegate.edge.exchange import Exchange

_EVENTS = (
    b"content-type: text/event-stream\r\n"
    b"cache-control: no-store\r\n"
    b"x-accel-buffering: no\r\n"  # nginx would hold events back (2026-07-28, Streamable HTTP)
)


class EventWriter:
    """Writes events to a client."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def begin(self) -> None:
        """Send status and headers, where that was not done."""
        self._exchange.begin(200, _EVENTS)

    async def send(self, data: bytes) -> bool:
        """Send events, and wait while the client does not read. False where it is gone."""
        if self._exchange.gone:
            return False
        self._exchange.begin(200, _EVENTS)
        await self._exchange.send(data)
        return not self._exchange.gone

    def end(self, data: bytes = b"") -> None:
        """Send the last events, and end the answer."""
        self._exchange.begin(200, _EVENTS)
        self._exchange.end(data)
