"""Subscription: one `subscriptions/listen` at a modern server, replaced as its filter changes. No transport.

Source: MCP 2026-07-28, basic/patterns/subscriptions. A stream is not resumable: after a gap, everything that
was listened to may have changed, and is told as changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Raw

from tidegate.channels.channel import Outbound, Reply
from tidegate.channels.inbox import LISTEN
from tidegate.domain.errors import ChannelFailure, ChannelTimeout, ParseFailure
from tidegate.protocol.client import NOTHING, error_code
from tidegate.protocol.codec import Object, decode_value, encode

Ask = Callable[[Outbound], Awaitable[Reply]]
"""Sends a request of the gateway's own; raises as `Channel.ask`."""
Heard = Callable[[str, Object], None]
"""Takes a notification."""
Filter = Mapping[str, object]
"""What is listened to, as the specification has it."""

KINDS = {
    "tools": ("toolsListChanged", "notifications/tools/list_changed"),
    "prompts": ("promptsListChanged", "notifications/prompts/list_changed"),
    "resources": ("resourcesListChanged", "notifications/resources/list_changed"),
}
"""By the capability that declares `listChanged`: the filter's field, and what comes."""
_UPDATED = "notifications/resources/updated"
_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_TAKEN = frozenset({*(method for _, method in KINDS.values()), _UPDATED, "notifications/tasks"})
_TASKS = Raw(b'{"extensions":{"io.modelcontextprotocol/tasks":{}}}')
"""A server tells of tasks only whom declares them (ext-tasks, capability negotiation)."""
_PATIENCE = 10.0
"""Seconds that an acknowledgement may take."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a stream that ended is opened again; doubled while it cannot be."""


class _Stream:
    """One `subscriptions/listen` under way."""

    def __init__(self, ask: Ask, wanted: Filter, heard: Heard) -> None:
        self.wanted = wanted
        loop = asyncio.get_running_loop()
        self.acknowledged: asyncio.Future[Mapping[str, object]] = loop.create_future()
        self._heard = heard
        outbound = Outbound(
            LISTEN,
            {"notifications": Raw(encode(wanted))},
            timeout=float("inf"),
            notify=self._take,
            capabilities=_TASKS if "taskIds" in wanted else NOTHING,
        )
        self.task = asyncio.ensure_future(ask(outbound))

    async def begin(self) -> None:
        """Wait until the server acknowledges it.

        Raises:
            ChannelFailure: it does not.
        """
        waited = {self.acknowledged, self.task}
        await asyncio.wait(waited, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if self.acknowledged.done():
            return
        if not self.task.done():
            raise ChannelTimeout(f"{LISTEN} was not acknowledged within {_PATIENCE:g} s")
        reply = self.task.result()
        code = "a result" if reply.error is None else f"code {error_code(reply.error)}"
        raise ChannelFailure(f"{LISTEN} was answered at once, with {code}")

    async def end(self) -> None:
        """Cancel it at the server."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def _take(self, method: str, params: Object) -> None:
        if method == _ACKNOWLEDGED:
            if not self.acknowledged.done():
                self.acknowledged.set_result(_read(params.get("notifications", NOTHING)))
        elif method in _TAKEN and self.acknowledged.done():
            self._heard(method, params)


class Subscription:
    """Listens to a modern server for as long as its channel lives."""

    def __init__(self, ask: Ask, heard: Heard) -> None:
        self._ask = ask
        self._heard = heard
        self._stream: _Stream | None = None
        self._lock = asyncio.Lock()
        self._opening: asyncio.Task[None] | None = None
        self._closed = False

    def begin(self, wanted: Filter) -> None:
        """Listen, without waiting for it."""
        self._again(wanted, 0.0, missed=False)

    async def want(self, wanted: Filter) -> Filter:
        """Listen to this from now on, instead of what was before; give what of it the server honours.

        Raises:
            ChannelFailure: it could not be had. What was before goes on.
        """
        async with self._lock:
            current = self._stream
            if current is not None and current.wanted == wanted and not current.task.done():
                return current.acknowledged.result()
            return await self._replace(wanted)

    async def close(self) -> None:
        """Listen no more."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._stream is not None:
            await self._stream.end()

    async def _replace(self, wanted: Filter) -> Filter:
        before, stream = self._stream, None
        if wanted:
            stream = _Stream(self._ask, wanted, self._heard)
            try:
                await stream.begin()
            except BaseException:
                await stream.end()
                raise
        if self._closed:
            if stream is not None:
                await stream.end()
            raise ChannelFailure("channel was closed", sent=False)
        self._stream = stream
        if before is not None:
            await before.end()
        if stream is None:
            return {}
        stream.task.add_done_callback(self._ended)
        return stream.acknowledged.result()

    def _ended(self, task: asyncio.Future[Reply]) -> None:
        if not task.cancelled():
            task.exception()  # looked at: it is opened again whatever ended it
        stream = self._stream
        if stream is not None and stream.task is task and not self._closed:
            self._again(stream.wanted, _FIRST_PAUSE, missed=True)

    def _again(self, wanted: Filter, pause: float, *, missed: bool) -> None:
        if self._opening is not None:
            self._opening.cancel()
        self._opening = asyncio.create_task(self._open_until_it_is(wanted, pause, missed), name="listen")

    async def _open_until_it_is(self, wanted: Filter, pause: float, missed: bool) -> None:
        while True:
            await asyncio.sleep(pause)
            async with self._lock:
                current = self._stream
                if current is not None and not current.task.done():
                    return  # somebody wanted something else in the meantime, and has it
                try:
                    await self._replace(wanted)
                except ChannelFailure:
                    pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, pause * 2))
                else:
                    break
        if missed:
            self._tell_all(wanted)

    def _tell_all(self, wanted: Filter) -> None:
        for field, method in KINDS.values():
            if field in wanted:
                self._heard(method, {})
        uris = wanted.get("resourceSubscriptions")
        for uri in uris if isinstance(uris, list) else ():  # pyright: ignore[reportUnknownVariableType]  # we made it
            self._heard(_UPDATED, {"uri": Raw(encode(uri))})


def _read(notifications: Raw) -> Mapping[str, object]:
    try:
        found = decode_value(notifications)
    except ParseFailure:
        return {}
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # JSON
