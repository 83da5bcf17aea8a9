"""Watching: what a server is asked to tell without a call: changed lists and resources, log messages.

In a legacy server's way and in a modern one's. It keeps what was asked for; who hears of it is not its matter.
"""

from __future__ import annotations

import asyncio

from msgspec import Raw

from tidegate.channels.channel import Outbound
from tidegate.channels.subscription import KINDS, Ask, Filter, Heard, Subscription
from tidegate.domain.errors import ChannelClosed, ChannelFailure, ParseFailure
from tidegate.domain.workload import Upstream
from tidegate.protocol.codec import Object, decode_object, encode
from tidegate.protocol.logs import LEVELS

_PATIENCE = 10.0
"""Seconds for each answer."""


class Watching:
    """What one server is asked to tell, for as long as the channel lives. `ask` sends, `heard` takes."""

    def __init__(self, upstream: Upstream, ask: Ask, heard: Heard) -> None:
        capabilities = _object(Raw(upstream.capabilities))
        resources = _object(capabilities.get("resources"))
        self._modern = upstream.era == "modern"
        self._subscribes = _yes(resources.get("subscribe"))
        self._logs = "logging" in capabilities and not self._modern
        self._ask = ask
        self._subscribed: set[str] = set()
        self._level = len(LEVELS)
        self._lock = asyncio.Lock()
        self._subscription = Subscription(ask, heard)
        self._kinds: dict[str, object] = {}
        if self._modern:
            for name, (field, _) in KINDS.items():
                if _yes(_object(capabilities.get(name)).get("listChanged")):
                    self._kinds[field] = True
        if self._kinds:
            self._subscription.begin(self._kinds)

    async def watch(self, uris: frozenset[str], tasks: frozenset[str]) -> None:
        """Have changes of these told, and of no others; see `Channel.watch`."""
        if uris and not self._subscribes:
            raise ChannelFailure("server does not tell of changed resources", sent=False)
        if self._modern:
            await self._listen(uris, tasks)
        else:
            async with self._lock:
                await self._subscribe(uris)

    async def want_logs(self, level: str) -> None:
        """Have log messages from `level` on; see `Channel.want_logs`."""
        if not self._logs or level not in LEVELS or LEVELS.index(level) >= self._level:
            return
        async with self._lock:
            if LEVELS.index(level) < self._level:
                await self._set_level(level)

    async def close(self) -> None:
        """Watch nothing any more. A legacy server forgets it with its session."""
        await self._subscription.close()

    async def _listen(self, uris: frozenset[str], tasks: frozenset[str]) -> None:
        wanted: dict[str, object] = dict(self._kinds)
        if uris:
            wanted["resourceSubscriptions"] = sorted(uris)
        if tasks:
            wanted["taskIds"] = sorted(tasks)
        honoured = await self._subscription.want(wanted)
        missing = len(uris - _listed(honoured, "resourceSubscriptions"))
        missing += len(tasks - _listed(honoured, "taskIds"))
        if missing:
            raise ChannelFailure(
                f"server will not tell of {missing} of {len(uris) + len(tasks)} subscriptions"
            )

    async def _subscribe(self, uris: frozenset[str]) -> None:
        refused = 0
        for uri in sorted(self._subscribed - uris):
            self._subscribed.discard(uri)
            await self._ask(_about("resources/unsubscribe", uri))
        for uri in sorted(uris - self._subscribed):
            reply = await self._ask(_about("resources/subscribe", uri))
            if reply.error is None:
                self._subscribed.add(uri)
            else:
                refused += 1
        if refused:
            raise ChannelFailure(f"server refuses {refused} of {len(uris)} subscriptions")

    async def _set_level(self, level: str) -> None:
        params: Object = {"level": Raw(encode(level))}
        try:
            await self._ask(Outbound("logging/setLevel", params, timeout=_PATIENCE))
        except ChannelFailure:
            return  # the next who wants them asks again
        self._level = LEVELS.index(level)  # also where it refused: it would again


def opened(watching: Watching | None) -> Watching:
    """Give what there is once a channel is open.

    Raises:
        ChannelClosed: it is not.
    """
    if watching is None:
        raise ChannelClosed("channel is not open", sent=False)
    return watching


def _about(method: str, uri: str) -> Outbound:
    return Outbound(method, {"uri": Raw(encode(uri))}, timeout=_PATIENCE)


def _listed(honoured: Filter, field: str) -> set[str]:
    found = honoured.get(field)
    if not isinstance(found, list):
        return set()
    return {each for each in found if isinstance(each, str)}  # pyright: ignore[reportUnknownVariableType]  # JSON


def _yes(value: Raw | None) -> bool:
    return value is not None and bytes(value) == b"true"


def _object(value: Raw | None) -> Object:
    try:
        return {} if value is None else decode_object(value)
    except ParseFailure:
        return {}
