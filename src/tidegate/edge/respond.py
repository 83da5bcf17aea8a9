"""Responder: one call's answer, as JSON, or as an event stream once there is more to say than one thing."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from tidegate.edge.events import EventWriter
from tidegate.edge.exchange import Exchange
from tidegate.gateway.call import Answer, Call
from tidegate.gateway.stream import Stream, Weight
from tidegate.gateway.streams import PRIMED, Streams
from tidegate.protocol.codec import Object, encode_notification

_JSON = b"content-type: application/json\r\n"


class Responder(Struct, eq=False):
    """Sends one answer, and what belongs to it before it.

    A legacy client's stream outlives its connection: the call goes on, and the client may come back for the rest.
    """

    _exchange: Exchange
    since: float
    """Loop time of the request."""
    streams: Streams | None = None
    """Keeps what legacy clients come back for."""
    events: bool = False
    """Whether the client takes an event stream."""
    call: Call | None = None
    """What is answered, where it is a legacy client's."""
    _stream: Stream | None = None
    _writer: EventWriter | None = None
    _flushing: asyncio.Task[None] | None = None

    def notify(self, method: str, params: Object) -> None:
        """Send a notification before the answer."""
        self._put(encode_notification(method, params), Weight.NOTE)

    def say(self, message: bytes) -> bool:
        """Send a message before the answer that must not be lost. False where the client cannot be told it."""
        return self._put(message, Weight.QUESTION)

    def prime(self) -> None:
        """Give a client that can come back for its answer the means to, where nothing was sent so far."""
        call = self.call
        if self._stream is None and call is not None and call.session and call.session.revision in PRIMED:
            self.keep_alive()

    def keep_alive(self) -> None:
        """Send something, so that nothing in between takes the connection for dead."""
        stream = self._opened()
        if stream is not None:
            stream.keep_alive()
            self._flow(stream)

    def _put(self, message: bytes, weight: Weight) -> bool:
        stream = self._opened()
        if stream is None or (self._exchange.gone and not stream.prefix):
            return False
        added = stream.add(message, weight)
        self._flow(stream)
        return added

    def _opened(self) -> Stream | None:
        if self._stream is not None:
            return self._stream
        exchange, call = self._exchange, self.call
        if not self.events or not exchange.can_stream or exchange.gone or exchange.answered:
            return None
        if call is None or self.streams is None:
            stream = Stream()
        else:
            stream = self.streams.post(call)
            exchange.when_lost = self._lose
        self._stream = stream
        self._writer = EventWriter(exchange)
        stream.attach(self._writer)
        return stream

    def _flow(self, stream: Stream) -> None:
        writer = self._writer
        if self._flushing is None and writer is not None and stream.writer is writer:
            self._flushing = asyncio.create_task(self._flush(stream, writer), name="edge flush")

    async def _flush(self, stream: Stream, writer: EventWriter) -> None:
        try:
            if not await stream.flow(writer, pause=True):
                self._lose()
        finally:
            self._flushing = None

    def _lose(self) -> None:
        if self.streams is not None and self._stream is not None and self._writer is not None:
            self.streams.left(self._stream, self._writer)

    async def finish(self, answer: Answer) -> None:
        """Send the answer itself."""
        if self._stream is not None and self._writer is not None:
            await self._finish(self._stream, self._writer, answer.body)
        else:
            self.send(answer)

    def send(self, answer: Answer) -> bool:
        """Send the answer, as `finish` does, where nothing was sent before it. Else False: that takes waiting."""
        if self._stream is not None:
            return False
        headers = _JSON
        for name, value in answer.headers:
            headers += b"%b: %b\r\n" % (name, value)
        self._exchange.respond(answer.status, headers, answer.body)
        return True

    async def _finish(self, stream: Stream, writer: EventWriter, answer: bytes) -> None:
        stream.finish(answer)
        while self._flushing is not None:
            await asyncio.wait([self._flushing])
        await stream.flow(writer)
        self._lose()  # kept for a moment, since not all that was written may have come
        writer.end()  # where the client came back on another connection
