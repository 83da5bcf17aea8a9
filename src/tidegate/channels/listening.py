"""Legacy streams over GET: a server's own, read for as long as the channel lives, and an answer's, resumed.

Source: MCP 2025-11-25, basic/transports, "Listening for Messages" and "Resumability and Redelivery".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tidegate.channels.exchange import HttpCall, RequestHeaders
from tidegate.channels.http.messages import HttpRequest, HttpResponse, OnEvent
from tidegate.channels.http.origin import HttpOrigin
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelFailure,
    ChannelTimeout,
    UpstreamProtocolError,
    UpstreamRefused,
)

_PAUSE = 1.0
"""Seconds before a stream is opened again, where the server does not say."""
_SHORTEST_PAUSE = 0.1
"""Whatever the server says, its own stream is not opened again sooner than this."""
_LONGEST_PAUSE = 30.0
_BARREN = 3
"""Resumptions in a row that bring nothing, after which an answer is given up."""


async def listen(
    origin: HttpOrigin,
    path: bytes,
    headers: RequestHeaders,
    on_event: OnEvent,
    answered: Callable[[], None],
) -> bool:
    """Read a server's own stream, opening it again when it ends. Returns where there is none.

    `answered` is called whenever the server has said whether there is one.
    Tells whether it was there and is now answered with 404: the server has forgotten the session. A 404
    from the beginning says nothing: some servers know no GET at all.
    """
    last_id: str | None = None
    retry: int | None = None
    pause = _PAUSE
    opened = False
    while True:
        try:
            request = HttpRequest(b"GET", path, headers.get(last_id), timeout=float("inf"), on_event=on_event)
            request.on_head = answered
            response = await origin.request(request)
        except UpstreamProtocolError:
            return False
        except ChannelFailure:
            answered()
            pause = min(pause * 2, _LONGEST_PAUSE)
        except ValueError:
            last_id = None  # an id that no header can carry
        else:
            if not response.streamed:
                return opened and response.status == 404
            opened = True
            last_id = response.last_id or last_id
            if response.retry is not None:
                retry = response.retry
            pause = max(_SHORTEST_PAUSE, _wait(retry))
        await asyncio.sleep(pause)


async def resume(
    origin: HttpOrigin,
    path: bytes,
    headers: RequestHeaders,
    call: HttpCall,
    broken: HttpResponse,
    deadline: float,
) -> HttpResponse:
    """Go on with the stream of an answer that broke off and had event ids, until the call is settled.

    Raises:
        ChannelClosed: the server does not go on with it.
        ChannelTimeout: the deadline passed.
    """
    response = broken
    last_id, retry, barren = response.last_id, response.retry, 0
    while not call.settled:
        await _pause(origin, call, _wait(retry), deadline)
        heard = call.heard
        left = max(0.0, deadline + call.put_off - origin.loop.time())
        try:
            lines = headers.get(last_id)
        except ValueError as error:
            raise UpstreamProtocolError("server gave an event id that no header can carry") from error
        request = HttpRequest(b"GET", path, lines, b"", left, call.take_event, call.more)
        try:
            response = await origin.request(request)
        except ChannelTimeout:
            raise
        except ChannelClosed:
            response = HttpResponse(0, streamed=True)
        if not response.streamed:
            text = f"{origin.where} does not resume its stream (status {response.status})"
            raise UpstreamRefused(text, status=response.status)
        last_id = response.last_id or last_id
        retry = retry if response.retry is None else response.retry
        barren = barren + 1 if call.heard == heard else 0
        if barren >= _BARREN:
            raise ChannelClosed(f"{origin.where} ended its stream and sent nothing when it was resumed")
    return response


def _wait(retry: int | None) -> float:
    return _PAUSE if retry is None else min(retry / 1000, _LONGEST_PAUSE)


async def _pause(origin: HttpOrigin, call: HttpCall, pause: float, deadline: float) -> None:
    left = deadline + call.put_off - origin.loop.time()
    await asyncio.sleep(max(0.0, min(pause, left)))
    if pause >= left and not call.more(origin.loop.time()):
        raise ChannelTimeout(f"no answer from {origin.where} in time, its stream was to be resumed")
