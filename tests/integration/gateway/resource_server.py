"""An issuer that goes on beside synchronous tests, and clients that show certificates and proofs."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import http.client
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.integration.gateway.gateway import Wire
from tests.proving import Prover
from tests.servers.issuer import Issuer, issuing

PAGE = "/.well-known/oauth-protected-resource"
_PATIENCE = 20.0


@contextlib.contextmanager
def an_issuer() -> Iterator[Issuer]:
    """Have an issuer answer on a thread of its own."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    made: list[Issuer] = []
    over = asyncio.Event()

    async def serving() -> None:
        async with issuing() as issuer:
            made.append(issuer)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serving(),), daemon=True)
    thread.start()
    assert ready.wait(_PATIENCE)
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(_PATIENCE)
        loop.close()


@dataclass
class Authorities:
    """Who signs certificates: the gateway's, its clients', and somebody else's."""

    place: Path
    own: trustme.CA = field(default_factory=trustme.CA)
    clients: trustme.CA = field(default_factory=trustme.CA)
    others: trustme.CA = field(default_factory=trustme.CA)

    def settings(self) -> dict[str, str]:
        """Write the files, and give `tls:`."""
        issued = self.own.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(self.place / "key.pem")
        issued.cert_chain_pems[0].write_to_path(self.place / "cert.pem")
        self.clients.cert_pem.write_to_path(self.place / "clients.pem")
        return {"certificate": "cert.pem", "key": "key.pem", "client_ca": "clients.pem"}

    def context(self, issued: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """Give a client's context, with a certificate to show."""
        context = ssl.create_default_context()
        self.own.configure_trust(context)
        if issued is not None:
            issued.configure_cert(context)
        return context

    def revoke(self, *issued: trustme.LeafCert) -> Path:
        """Write the list of what was revoked of the clients' authority, in one step, and give its file."""
        authority = x509.load_pem_x509_certificate(self.clients.cert_pem.bytes())
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        builder = x509.CertificateRevocationListBuilder().issuer_name(authority.subject)
        builder = builder.last_update(now - day).next_update(now + day)
        for each in issued:
            serial = x509.load_der_x509_certificate(der(each)).serial_number
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(one.build())
        key: Any = serialization.load_pem_private_key(self.clients.private_key_pem.bytes(), None)
        new, path = self.place / "revoked.new", self.place / "revoked.pem"
        new.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return new.replace(path)


def der(issued: trustme.LeafCert) -> bytes:
    """Give a certificate as it is hashed and forwarded."""
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


@dataclass
class Got:
    """An answer, its header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def challenge(self) -> str:
        return self.headers.get("www-authenticate", "")


@dataclass
class Client:
    """Sends single requests to a gateway."""

    base: str
    context: ssl.SSLContext | None = None
    source: str = "127.0.0.1"
    """Address that it comes from."""

    def send(self, path: str, method: str = "GET", body: str = "", **headers: str) -> Got:
        """Send one request on a connection of its own."""
        parts = urlsplit(self.base)
        host, port = parts.hostname or "", parts.port
        connection = (
            http.client.HTTPConnection(host, port, timeout=_PATIENCE, source_address=(self.source, 0))
            if self.context is None
            else http.client.HTTPSConnection(host, port, timeout=_PATIENCE, context=self.context)
        )
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, path, body, named)
            got = connection.getresponse()
            answer = Got(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
        return answer

    def ask(
        self,
        path: str = "/mcp",
        token: str | None = None,
        *,
        scheme: str = "Bearer",
        method: str = "tools/list",
        params: Mapping[str, Any] | None = None,
        **headers: str,
    ) -> Got:
        """Ask MCP, as a modern client does."""
        own, body = Wire("", modern=True).request(method, dict(params or {}), 1)
        if token is not None:
            own["Authorization"] = f"{scheme} {token}"
        return self.send(
            path, "POST", json.dumps(body), **{**own, "Content-Type": "application/json", **headers}
        )

    def prove(
        self, by: Prover, token: str, path: str = "/mcp", sent_to: str | None = None, **claims: Any
    ) -> Got:
        """Ask MCP with a proof for a path, sent there or elsewhere."""
        proof = by.proof(self.base + path, token, **claims)
        return self.ask(sent_to or path, token, scheme="DPoP", DPoP=proof)
