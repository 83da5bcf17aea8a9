"""Request and Exchange: one HTTP request in whole, and its answer in one write or in pieces. No routing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from http import HTTPStatus
from typing import Protocol

import httptools
from msgspec import Struct

from tidegate.ports.identity import Credentials

_STATUS = {each.value: b"HTTP/1.1 %d %b\r\n" % (each.value, each.phrase.encode()) for each in HTTPStatus}

_CLOSE = b"connection: close\r\n"


class Request(Struct, eq=False):
    """One request, whole."""

    method: bytes
    path: str
    """As it was sent: nothing is decoded or normalised, so that one path has one spelling."""
    headers: dict[bytes, bytes]
    """Names in lower case. Of a header that stood more than once, the values joined by commas."""
    repeated: Set[bytes] = frozenset()
    """Names of headers that stood more than once."""
    query: bytes = b""
    body: bytes = b""
    oversize: bool = False
    """Whether the body was over its bound; it is then not here."""


def request_for(target: bytes, method: bytes, headers: dict[bytes, bytes], repeated: Set[bytes]) -> Request:
    """Give the request for a target, as that stood in the request line. Its body is still to come."""
    if target[:1] != b"/":
        target = _origin_form(target, headers)
    path, _, query = target.partition(b"?")
    return Request(method, path.decode("latin-1"), headers, repeated, query)


def _origin_form(target: bytes, headers: dict[bytes, bytes]) -> bytes:
    """Read an absolute-form target: its authority counts, not the Host header (RFC 9112, 3.2.2)."""
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        return b"*"
    if url.host:
        headers[b"host"] = b"%b:%d" % (url.host, url.port) if url.port else url.host
    path = url.path or b"/"
    return path + b"?" + url.query if url.query else path


class Wire(Protocol):
    """What an exchange needs of its connection."""

    gone: bool
    peer: str
    certificate: bytes | None
    chunks: bool
    keep: bool
    """Whether it goes on after the answer."""
    credentials: Credentials | None
    """Those that came with the request before, where it is known whose they are: for whoever reads them."""

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    async def drained(self) -> None:
        """Wait while the client does not read."""
        ...

    def finished(self, exchange: Exchange) -> None:
        """Learn that the exchange is over."""
        ...

    def abort(self) -> None:
        """Cut the connection."""
        ...


class Exchange(Struct, eq=False):
    """One request and its answer."""

    wire: Wire
    request: Request
    task: asyncio.Task[None] | None = None
    when_lost: Callable[[], object] | None = None
    """Called once if the client goes away before it is answered."""
    answered: bool = False
    _streaming: bool = False

    @property
    def gone(self) -> bool:
        """Whether the client went away."""
        return self.wire.gone

    @property
    def peer(self) -> str:
        """Address of the other end; empty on a Unix socket."""
        return self.wire.peer

    @property
    def certificate(self) -> bytes | None:
        """The client's certificate (DER), where the listener asked for one and it is good."""
        return self.wire.certificate

    @property
    def can_stream(self) -> bool:
        """Whether the client's HTTP has chunks."""
        return self.wire.chunks

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer in one write. `headers` is encoded lines, without the length."""
        if self.answered or self._streaming:
            return
        self.answered = True
        wire = self.wire
        ending = b"" if wire.keep else _CLOSE
        shown = b"" if self.request.method == b"HEAD" else body
        wire.write(
            b"%bcontent-length: %d\r\n%b%b\r\n%b" % (_STATUS[status], len(body), headers, ending, shown)
        )

    def begin(self, status: int, headers: bytes) -> None:
        """Begin an answer that is sent in pieces; only where `can_stream`."""
        if not self._streaming and not self.answered:
            self._streaming = True
            ending = b"" if self.wire.keep else _CLOSE
            self.wire.write(b"%btransfer-encoding: chunked\r\n%b%b\r\n" % (_STATUS[status], headers, ending))

    async def send(self, data: bytes) -> None:
        """Send a piece, waiting while the client does not read."""
        if data and self._streaming and not self.answered:
            self.wire.write(b"%x\r\n%b\r\n" % (len(data), data))
            await self.wire.drained()

    def end(self, data: bytes = b"") -> None:
        """End an answer that was sent in pieces."""
        if self._streaming and not self.answered:
            self.answered = True
            last = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            self.wire.write(last + b"0\r\n\r\n")

    def close(self) -> None:
        """Be done. What was not answered whole must not look as if it was."""
        self.when_lost = None
        if not self.answered:
            self.wire.abort()
        self.wire.finished(self)
