"""What the HTTP client takes and gives: requests, responses, bounds. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Struct

from tidegate.protocol.sse import Event

OnEvent = Callable[[Event], bool]
"""Takes one event of a `text/event-stream` answer; True: that was all that was wanted, the request is
over. Called on the loop's thread; must not block or raise."""


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """How much of everything. Sizes in bytes, times in seconds."""

    connections: int = 64
    """Open at once, those with a long stream among them."""
    waiting: int = 256
    """Requests that wait for a connection; one more is refused."""
    connect: float = 10.0
    """Until a connection stands, through the proxy and TLS too."""
    idle: float = 30.0
    """After which an unused connection is closed; sooner where the server says so."""
    head: int = 32 * 1024
    body: int = 4 * 1024 * 1024
    """Of an answer, or of one event in it."""


class HttpRequest(Struct, eq=False):
    """A request. `Host` and `Content-Length` are added to it."""

    method: bytes
    path: bytes
    """With the query. Begins with a slash."""
    headers: bytes = b""
    """Header lines, each with its end."""
    body: bytes = b""
    timeout: float = 60.0
    """Seconds until the whole answer is there; `inf` for a stream."""
    on_event: OnEvent | None = None
    """Without it, `text/event-stream` is a body like any other."""
    more: Callable[[float], float] | None = None
    """Asked with the loop's time when `timeout` is over: how many seconds are given besides. 0: none."""
    repeatable: bool = False
    """Whether it may be sent once more where an idle connection broke before a byte of answer."""
    on_head: Callable[[], None] | None = None
    """Called once the head of the answer is there."""
    sent: float = 0.0
    """Loop time at which its time began."""


class HttpResponse(Struct, eq=False):
    """An answer."""

    status: int
    headers: dict[bytes, bytes] = {}
    """Names in lower case."""
    body: bytes = b""
    streamed: bool = False
    """Whether it came as events."""
    enough: bool = False
    """Whether `on_event` had what it wanted."""
    last_id: str | None = None
    """Of the events: where to resume."""
    retry: int | None = None
    """Milliseconds that the server wants us to wait before that."""

    def content_type(self) -> bytes:
        """Give the media type without parameters, in lower case."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
