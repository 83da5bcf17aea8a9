"""Channel: an open way to talk MCP to a workload, whatever it is made of.

A channel remaps JSON-RPC ids and progress tokens, keeps each call's deadline, and gives back what
the server said as bytes. It knows the upstream's era; nobody above it needs to.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Protocol

from msgspec import Raw, Struct

from tidegate.domain.workload import Upstream
from tidegate.ports.recorder import Intent
from tidegate.protocol.codec import Object

Notify = Callable[[str, Object], None]
"""Takes a notification that belongs to one call: its method and params. `progressToken` is the
client's own again. A log message may still come when the call has ended, where it can only be for its holder.
Called on the loop's thread; must not block or raise."""


class Reply(Struct, frozen=True):
    """What the other side answered: one of the two, as it came."""

    result: Raw | None
    error: Raw | None


Answer = Callable[[Reply], None]
"""Answers a server's request, now or later, once."""

Asked = Callable[[str, Object, Answer], bool]
"""Takes a server's request (method, params, how to answer) that belongs to one call, or says False: not
taken, to be refused. Called on the loop's thread; must not block or raise. Only `capabilities.QUESTIONS`
come here. While one that was taken is open, the call's deadline is put off.

`notifications/cancelled` with the very same `Answer` object means that nobody waits for that answer any more:
the server gave its question up, or is gone. What is returned then does not matter."""


class Party(Struct, frozen=True):
    """One who may have caused what a server says: a holder, and how it is reached."""

    holder: str
    asked: Asked | None = None
    notify: Notify | None = None


class Outbound(Struct):
    """A request on its way to a server, in neither era's dress yet."""

    method: str
    params: Object = {}
    """Without `_meta`."""
    meta: Object = {}
    """`_meta` without the era's own keys (`revisions.META_ERA`); with the client's `progressToken`."""
    name: str | None = None
    """What a modern HTTP upstream wants mirrored as `Mcp-Name`."""
    timeout: float = 60.0
    """Seconds until `ChannelTimeout`; progress does not extend it."""
    notify: Notify | None = None
    mirrored: dict[str, str] = {}
    """`Mcp-Param-*` headers for a modern HTTP upstream."""
    holder: str = ""
    """Whose request it is: a legacy session's key, or a call's id. Empty for the gateway's own."""
    asked: Asked | None = None
    """Takes what a legacy server asks while it works on this. Outlives the request: a late question of a
    server that has one client only comes here too."""
    capabilities: Raw = Raw(b"{}")
    """What a modern upstream is told that this call's client can do: an encoded object."""
    log_level: str | None = None
    """What a modern upstream is told of the log messages that this call's client wants."""


class ChannelEvents(Protocol):
    """Whom a channel tells. Called on the loop's thread; must not block or raise."""

    def channel_closed(self, reason: str, *, violated: bool = False) -> None:
        """Learn that the channel is of no use any more, once, and why. Not called after `close()`.

        `violated`: the workload broke the protocol or a bound, so it is replaced, never attached to again.
        """
        ...

    def channel_notified(self, method: str, params: Object) -> None:
        """Take a notification that belongs to no call (`notifications/tools/list_changed`, …)."""
        ...

    def channel_logged(self, line: bytes) -> None:
        """Take a line that the workload wrote to its standard error, bounded."""
        ...

    def channel_contended(self) -> None:
        """Learn that a question was refused since it could have been for more than one holder."""
        ...

    def channel_callers(self) -> Iterable[Party]:
        """Give those who wait for this workload, or have a place on it and may have nothing in flight yet."""
        ...


class Channel(Protocol):
    """An open way to a workload, after its handshake.

    `call` and `ask` raise `ChannelTimeout`, `ChannelClosed`, `SessionForgotten`,
    `UpstreamProtocolError` or `UpstreamRefused`. Cancelling the task that awaits them cancels the
    request at the server as its era and transport want it (`notifications/cancelled`, or closing the
    response stream on modern HTTP), and drops a late answer.
    """

    @property
    def upstream(self) -> Upstream:
        """What the handshake settled."""
        ...

    @property
    def in_flight(self) -> int:
        """How many requests wait for an answer."""
        ...

    def call(self, intent: Intent, outbound: Outbound) -> Coroutine[object, object, Reply]:
        """Send a request that was recorded."""
        ...

    async def ask(self, outbound: Outbound) -> Reply:
        """Send a request of the gateway's own: a list, a ping. Never one with an effect.

        Raises:
            ValueError: the method is `tools/call`.
        """
        ...

    async def watch(self, uris: frozenset[str], tasks: frozenset[str]) -> None:
        """Say of which resources (and, modern, tasks) changes are to be told; replaces what was said before.

        Legacy: `resources/subscribe` and `unsubscribe`; modern: a `subscriptions/listen` stream. They come
        as `channel_notified`. The channel keeps it up for as long as it lives.

        Raises:
            ChannelFailure: the server refuses, or does not answer.
        """
        ...

    def tell(self, outbound: Outbound) -> bool:
        """Send a client's notification (`notifications/roots/list_changed`) to a legacy server, best effort.

        What the server asks next may be due to it. Tells whether it was sent.
        """
        ...

    async def want_logs(self, level: str) -> None:
        """Have a legacy server send log messages from `level` on, where it sends fewer now.

        Never raises; a server that will not is left as it is.
        """
        ...

    async def close(self) -> None:
        """End the channel and its session, bounded in time. What waits fails with `ChannelClosed`."""
        ...
