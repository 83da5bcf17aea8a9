"""Handshake over a pipe: which era the server is of, `initialize` where it is legacy. No framing.

Source: MCP 2026-07-28, basic/versioning and basic/transports/stdio (backward compatibility).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.channels.channel import Outbound, Reply
from tidegate.channels.conversation import Conversation, Waiting
from tidegate.domain.errors import ChannelClosed, ChannelFailure, ChannelTimeout
from tidegate.domain.workload import Upstream
from tidegate.protocol.client import (
    INITIALIZED,
    Introduction,
    discover,
    initialize,
    read_discovery,
    read_initialize,
)
from tidegate.protocol.codec import encode_request

_PROBE = 2.0
_LAST_WORDS = 2.0
"""Seconds for a workload that takes nothing more to say how it ended."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a handshake may take, in seconds."""

    total: float = 60.0
    probe: float | None = None
    """How long `server/discover` alone is waited for; 0 takes the server for legacy without asking. None
    is 2 over a pipe, where a late answer still counts, and 10 over HTTP, where it does not."""


class Handshake:
    """Settles an era with a server, once."""

    def __init__(self, talk: Conversation, introduction: Introduction, patience: Patience) -> None:
        self._talk = talk
        self._introduction = introduction
        self._patience = patience
        self._ends = talk.loop.time() + patience.total

    async def settle(self) -> Upstream:
        """Probe the era and shake hands.

        A server that is slow to start may answer the probe after `initialize` went out: whichever
        settles the era first counts.

        Raises:
            ChannelFailure: it did not come to that, and why.
        """
        asked: list[Waiting] = []
        try:
            alone = _PROBE if self._patience.probe is None else self._patience.probe
            if alone > 0:
                probe = await self._post("server/discover", discover)
                asked.append(probe)
                await asyncio.wait({probe.future}, timeout=alone)
                if probe.future.done() and (upstream := self._discovered(probe)):
                    return upstream
            opening = await self._post("initialize", initialize)
            asked.append(opening)
            return await self._first(asked)
        finally:
            for each in asked:
                self._drop(each)

    async def resume(self, known: Upstream) -> None:
        """See that a server whose era was settled before still answers. Anything it answers will do.

        Raises:
            ChannelFailure: it does not.
        """
        self._talk.inbox.settled(modern=known.era == "modern")
        self._talk.inbox.askers.resumed()
        if known.era == "modern":
            waiting = await self._post("server/discover", discover)
        else:
            waiting = await self._post("ping", lambda ident, _: encode_request(ident, "ping", {}))
        try:
            await waiting.future
        finally:
            self._drop(waiting)

    async def _first(self, asked: list[Waiting]) -> Upstream:
        opening = asked[-1]
        probe = asked[0]
        await asyncio.wait({each.future for each in asked}, return_when=asyncio.FIRST_COMPLETED)
        if probe is not opening and probe.future.done():
            upstream = self._discovered(probe)
            if upstream is not None:
                return upstream
        reply = await opening.future
        upstream = read_initialize(reply.result, reply.error)
        self._talk.inbox.settled(modern=False)  # some ask as soon as they are told
        self._talk.inbox.say(INITIALIZED)
        return upstream

    def _discovered(self, probe: Waiting) -> Upstream | None:
        try:
            reply: Reply = probe.future.result()
        except ChannelTimeout:
            return None
        return read_discovery(reply.result, reply.error)

    async def _post(self, method: str, make: Callable[[bytes, Introduction], bytes]) -> Waiting:
        left = max(0.0, self._ends - self._talk.loop.time())
        waiting = self._talk.expect(Outbound(method, timeout=left), quiet=True)
        if not self._talk.inbox.say(make(waiting.ident, self._introduction)):
            # A workload whose pipe has broken has mostly ended, and how it did is told a moment later.
            await asyncio.wait({waiting.future}, timeout=min(left, _LAST_WORDS))
            ended = waiting.future.exception() if waiting.future.done() else None
            self._drop(waiting)
            if isinstance(ended, ChannelClosed):
                raise ended
            raise ChannelFailure(f"{method} could not be sent", sent=False)
        return waiting

    def _drop(self, waiting: Waiting) -> None:
        self._talk.forget(waiting)
        if waiting.future.done() and not waiting.future.cancelled():
            waiting.future.exception()  # looked at, so that the loop does not complain
        waiting.future.cancel()
