"""Listener: a socket that is served, with its TLS, its sweeper, and its orderly end."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tidegate.domain.errors import SettingsError
from tidegate.edge.app import App
from tidegate.edge.connection import Connection, HttpBounds, Server
from tidegate.telemetry import log

_SWEEP = 1.0
_CERTIFICATE_LOOK = 5
_HANDSHAKE = 10.0
"""Seconds for a TLS handshake, and for its end: one that is under way is not counted as a connection yet."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of the certificate chain and its key, and of whom to take as clients, PEM."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """Authorities whose certificates clients may show; None: they are asked for none."""
    required: bool = False
    """Whether a client without one is turned away."""


class _Renewed(ssl.SSLContext):
    """The context that a listener has: each connection begins with the one that is in force then.

    A context that is changed in place could trust more authorities, and never fewer.
    """

    now: ssl.SSLContext

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin TLS on a connection."""
        return self.now.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


class Listener:
    """Serves an application on a TCP address or a Unix socket."""

    def __init__(self, app: App, *, bounds: HttpBounds | None = None, tls: Tls | None = None) -> None:
        self.app = app
        self._tls = tls
        self._context = None if tls is None else _Renewed(ssl.PROTOCOL_TLS_SERVER)
        self._http = Server(app, bounds or HttpBounds(), app.whose)
        if tls is not None and self._context is not None:
            self._context.now = server_context(tls)
            self._http.certificates = tls.client_ca is not None
        self._server: asyncio.Server | None = None
        self._port: int | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._stamp = self._stamps()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._http.connections)

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        if self._port is None:
            raise RuntimeError("not listening on TCP")
        return self._port

    async def open_tcp(self, host: str, port: int) -> None:
        """Listen on an address.

        Raises:
            SettingsError: it cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        patience = None if self._context is None else _HANDSHAKE
        try:
            self._server = await loop.create_server(
                self._protocol(), host, port,
                ssl=self._context, ssl_handshake_timeout=patience, ssl_shutdown_timeout=patience, backlog=2048,
            )  # fmt: skip
        except OSError as error:
            raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self._port = int(self._server.sockets[0].getsockname()[1])
        self._sweeper = asyncio.create_task(self._sweep(), name="listener sweeper")

    async def open_unix(self, path: Path) -> None:
        """Listen on a Unix socket that only its owner can open.

        Raises:
            SettingsError: it cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        with suppress(FileNotFoundError):
            os.unlink(path)
        before = os.umask(0o177)
        try:
            self._server = await loop.create_unix_server(self._protocol(), str(path))
        except OSError as error:
            raise SettingsError(f"cannot listen on {path}: {error.strerror or error}") from error
        finally:
            os.umask(before)
        self._sweeper = asyncio.create_task(self._sweep(), name="listener sweeper")

    def become(self, bounds: HttpBounds, tls: Tls | None) -> None:
        """Have other bounds, and another certificate for new connections, where there was one.

        Raises:
            SettingsError: the certificate cannot be used; nothing has changed.
        """
        if tls is not None and tls != self._tls and self._context is not None:
            self._renew_by(tls)
            self._stamp = self._stamps()
        self._http.bound(bounds)

    def _protocol(self) -> Callable[[], Connection]:
        http = self._http
        return lambda: Connection(http)

    def stop_listening(self) -> None:
        """Take no further connection, and end idle ones."""
        self._http.closing = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._http.connections):
            connection.shut()

    async def close(self, grace: float) -> None:
        """End: wait at most `grace` seconds for answers that are under way, then cancel them."""
        self.stop_listening()
        self._http.turns.all_now()
        tasks = {exchange.task for exchange in self._http.active if exchange.task is not None}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=2.0)
        for connection in list(self._http.connections):
            connection.shut()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])

    async def _sweep(self) -> None:
        turns = 0
        while True:
            await asyncio.sleep(_SWEEP)
            turns += 1
            self._http.sweep()
            self.app.mcp.keep_alive()
            if turns % _CERTIFICATE_LOOK == 0:
                self._renew()

    def _stamps(self) -> tuple[float, ...] | None:
        tls = self._tls
        if tls is None:
            return None
        files = (tls.certificate, tls.key, tls.client_ca)
        try:
            return tuple(each.stat().st_mtime for each in files if each is not None)
        except OSError:
            return None

    def _renew(self) -> None:
        """Take a changed certificate for new connections; keep the old one where it cannot be used."""
        stamp = self._stamps()
        if self._tls is None or self._context is None or stamp is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._renew_by(self._tls)
        except SettingsError as error:
            log().error("listener.certificate_refused", reason=str(error))
        else:
            log().info("listener.certificate_reloaded", certificate=str(self._tls.certificate))

    def _renew_by(self, tls: Tls) -> None:
        """Have new connections begin by other files, and end those that would not be let in by them.

        Raises:
            SettingsError: they cannot be used; nothing has changed.
        """
        if self._context is None:
            return
        before, now = self._context.now, server_context(tls)
        self._context.now, self._tls = now, tls
        self._http.certificates = tls.client_ca is not None
        gone = {*before.get_ca_certs(binary_form=True)} - {*now.get_ca_certs(binary_form=True)}
        for connection in list(self._http.connections):
            if connection.certificate is not None and gone:
                connection.abort()  # which authority it came by is not kept
            elif connection.certificate is None and tls.required:
                connection.shut()


def server_context(tls: Tls) -> ssl.SSLContext:
    """Make a server context: TLS 1.3 and nothing older; with the authorities of clients where they are asked.

    Raises:
        SettingsError: the files cannot be used; says which.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise SettingsError(f"tls: {tls.certificate} with {tls.key} cannot be used: {error}") from error
    if tls.client_ca is not None:
        _ask_clients(context, tls.client_ca, required=tls.required)
    return context


def _ask_clients(context: ssl.SSLContext, authorities: Path, *, required: bool) -> None:
    try:
        context.load_verify_locations(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"tls: client_ca {authorities} cannot be used: {error}") from error
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    # What stands in the file is trusted and nothing else: an intermediate authority there needs no root beside it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # A resumed session would bring back a certificate that was verified then, not now.
    context.num_tickets = 0


def _no_password() -> str:
    """Refuse an encrypted key instead of asking at a terminal nobody watches."""
    raise ValueError("the key is encrypted; give one that is not, readable by the gateway only")
