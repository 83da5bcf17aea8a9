"""Channel: an open way to talk MCP to a workload, whatever it is made of.

A channel remaps JSON-RPC ids and progress tokens, keeps each call's deadline, and gives back what
the server said as bytes. It knows the upstream's era; nobody above it needs to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Raw, Struct, field

from tidegate.domain.workload import Upstream
from tidegate.ports.recorder import Intent
from tidegate.protocol.codec import Object

Notify = Callable[[str, Object], None]
"""Takes a notification that belongs to one call: its method and params. `progressToken` is the
client's own again. Called on the loop's thread; must not block or raise."""


class Outbound(Struct):
    """A request on its way to a server, in neither era's dress yet."""

    method: str
    params: Object = field(default_factory=dict[str, Raw])
    """Without `_meta`."""
    meta: Object = field(default_factory=dict[str, Raw])
    """`_meta` without the era's own keys (`revisions.META_ERA`); with the client's `progressToken`."""
    name: str | None = None
    """What a modern HTTP upstream wants mirrored as `Mcp-Name`."""
    timeout: float = 60.0
    """Seconds until `ChannelTimeout`; progress does not extend it."""
    notify: Notify | None = None
    mirrored: dict[str, str] = field(default_factory=dict[str, str])
    """`Mcp-Param-*` headers for a modern HTTP upstream."""


class Reply(Struct, frozen=True):
    """What the server answered: one of the two, as it came."""

    result: Raw | None
    error: Raw | None


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

    async def call(self, intent: Intent, outbound: Outbound) -> Reply:
        """Send a request that was recorded."""
        ...

    async def ask(self, outbound: Outbound) -> Reply:
        """Send a request of the gateway's own: a list, a ping. Never one with an effect.

        Raises:
            ValueError: the method is `tools/call`.
        """
        ...

    async def close(self) -> None:
        """End the channel and its session, bounded in time. What waits fails with `ChannelClosed`."""
        ...
