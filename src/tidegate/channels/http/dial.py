"""Open connections: to an origin, through a proxy or not, over TLS or not. Each with a deadline."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import cast

from tidegate.channels.http.address import Address, Proxy
from tidegate.channels.http.connection import Connection
from tidegate.domain.errors import ChannelClosed, SettingsError

_LARGEST_HEAD = 8192
"""Bytes of a proxy's answer to CONNECT."""


def tls_context(ca_bundle: Path | None = None) -> ssl.SSLContext:
    """Make a context that verifies, with the system's authorities and those of `ca_bundle`.

    Raises:
        SettingsError: the bundle cannot be used.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_bundle is not None:
        try:
            context.load_verify_locations(cafile=str(ca_bundle))
        except OSError as error:
            raise SettingsError(f"CA bundle {ca_bundle} cannot be used: {error.strerror}") from error
    return context


async def dial(
    address: Address,
    proxy: Proxy | None,
    tls: ssl.SSLContext | None,
    made: Connection,
    timeout: float,
) -> None:
    """Open a connection for `made`, over TLS where `tls` is given.

    Raises:
        ChannelClosed: it could not be had, with `sent` False. Names hosts and ports, never credentials.
    """
    where = address.where if proxy is None else f"{address.where} through proxy {proxy.where}"
    try:
        async with asyncio.timeout(timeout):
            if proxy is None:
                await _connect(address.host, address.port, tls, made)
            elif tls is None:
                await _connect(proxy.host, proxy.port, None, made)
            else:
                await _tunnel(address, proxy, tls, made)
    except TimeoutError as error:
        raise ChannelClosed(f"no connection to {where} within {timeout:g} s", sent=False) from error
    except ssl.SSLError as error:
        raise ChannelClosed(f"no TLS with {where}: {_tls_reason(error)}", sent=False) from error
    except OSError as error:
        raise ChannelClosed(f"no connection to {where}: {_reason(error)}", sent=False) from error


async def _connect(host: str, port: int, tls: ssl.SSLContext | None, made: Connection) -> None:
    loop = asyncio.get_running_loop()
    name = None if tls is None else host
    await loop.create_connection(lambda: made, host, port, ssl=tls, server_hostname=name)


async def _tunnel(address: Address, proxy: Proxy, tls: ssl.SSLContext, made: Connection) -> None:
    """Ask a proxy for a tunnel (RFC 9110, 9.3.6) and speak TLS through it."""
    loop = asyncio.get_running_loop()
    transport, opening = await loop.create_connection(lambda: _Opening(loop), proxy.host, proxy.port)
    try:
        where = address.where.encode("ascii")
        transport.write(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (where, where, proxy.header()))
        status = await opening.answered
        if not 200 <= status < 300:
            text = f"proxy {proxy.where} refused a tunnel to {address.where} with status {status}"
            raise ChannelClosed(text, sent=False)
        secured = await loop.start_tls(transport, made, tls, server_hostname=address.host)
    except BaseException:  # whatever ends it, cancellation too: the tunnel must not stay open
        transport.abort()
        raise
    if secured is None:
        raise ConnectionResetError("proxy closed the tunnel")
    made.connection_made(secured)


class _Opening(asyncio.Protocol):
    """Reads a proxy's answer to CONNECT and nothing after it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answered: asyncio.Future[int] = loop.create_future()
        self._held = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, end, rest = self._held.partition(b"\r\n\r\n")
        if self.answered.done():
            return
        if end and not rest:
            line = head.split(b"\r\n", 1)[0].split(b" ")
            good = len(line) >= 2 and line[0].startswith(b"HTTP/1.") and line[1].isdigit()
            if good and self._transport is not None:
                self._transport.pause_reading()  # what comes now is TLS
            self.answered.set_result(int(line[1]) if good and len(line[1]) == 3 else 0)
        elif end or len(self._held) > _LARGEST_HEAD:
            self.answered.set_result(0)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_exception(ConnectionResetError("proxy closed the connection"))


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    return (error.reason or "handshake failed").lower().replace("_", " ")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()[:200]
