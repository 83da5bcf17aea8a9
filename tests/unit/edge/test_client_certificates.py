"""Clients show certificates: whose are taken, when, and what the gateway then knows of whoever sends a request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from pathlib import Path

import pytest
import trustme

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, Got, Wire, modern, raw_post
from tidegate.domain.errors import SettingsError
from tidegate.edge.connection import HttpBounds
from tidegate.edge.guard import Guard
from tidegate.edge.listener import Tls, server_context
from tidegate.edge.resources import Resources, Tokens
from tidegate.ports.identity import Credentials, Vouched

URL = "https://localhost"


class Party:
    """An authority of clients and one of the gateway's own, and what was asked with which certificate."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.own, self.clients, self.others = trustme.CA(), trustme.CA(), trustme.CA()
        issued = self.own.issue_cert("localhost")
        issued.private_key_pem.write_to_path(place / "key.pem")
        issued.cert_chain_pems[0].write_to_path(place / "cert.pem")
        self.clients.cert_pem.write_to_path(place / "clients.pem")
        self.shown: list[bytes | None] = []

    def tls(self, *, required: bool = False, client_ca: str | None = "clients.pem") -> Tls:
        authorities = None if client_ca is None else self.place / client_ca
        return Tls(self.place / "cert.pem", self.place / "key.pem", authorities, required)

    def context(self, issued: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.own.configure_trust(context)
        if issued is not None:
            issued.configure_cert(context)
        return context

    async def open(self, listen: Listen, tls: Tls) -> EdgeSetting:
        edge = await listen(tls=tls)
        edge.listener.app.mcp.resources = Resources(URL, Tokens(), lambda: {"/mcp": ()})
        named = edge.gateway.identity
        asking = named.authenticate

        async def remember(credentials: Credentials) -> Vouched | None:
            self.shown.append(credentials.certificate)
            return await asking(credentials)

        named.authenticate = remember
        return edge


@pytest.fixture
def party(tmp_path: Path) -> Party:
    return Party(tmp_path)


def der(issued: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


async def ask(wire: Wire) -> Got:
    headers, body = modern("tools/list")
    await wire.send(raw_post(body, headers))
    return await wire.read()


async def asked(edge: EdgeSetting, context: ssl.SSLContext) -> int:
    wire = await edge.connect(context)
    try:
        return (await ask(wire)).status
    finally:
        await wire.close()


async def refused(edge: EdgeSetting, context: ssl.SSLContext) -> bool:
    """Tell whether a client gets no answer, at the handshake or (TLS 1.3) with its first bytes."""
    try:
        async with asyncio.timeout(5):
            await asked(edge, context)
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return True
    return False


async def test_a_certificate_of_the_authority_is_known_with_each_request(
    listen: Listen, party: Party
) -> None:
    edge = await party.open(listen, party.tls())
    alice = party.clients.issue_cert("alice@example.org")
    wire = await edge.connect(party.context(alice))
    assert (await ask(wire)).status == 200
    await wire.close()
    assert await asked(edge, party.context()) == 200
    assert party.shown == [der(alice), None]


async def test_a_certificate_of_another_authority_gets_no_answer(listen: Listen, party: Party) -> None:
    for required in (False, True):
        edge = await party.open(listen, party.tls(required=required))
        stranger = party.others.issue_cert("alice@example.org")
        own = party.own.issue_cert("alice@example.org")  # the gateway's own authority is not the clients'
        for issued in (stranger, own):
            assert await refused(edge, party.context(issued))
        assert await refused(edge, party.context()) == required
        await edge.close()
    assert set(party.shown) <= {None}


async def test_where_clients_are_asked_for_none_no_certificate_is_known(listen: Listen, party: Party) -> None:
    edge = await party.open(listen, party.tls(client_ca=None))
    assert await asked(edge, party.context(party.clients.issue_cert("alice@example.org"))) == 200
    assert party.shown == [None]  # nobody asked for it


async def test_an_authority_that_is_taken_away_takes_its_clients_with_it(
    listen: Listen, party: Party
) -> None:
    edge = await party.open(listen, party.tls())
    alice = party.context(party.clients.issue_cert("alice@example.org"))
    bob = party.context(party.others.issue_cert("bob@example.org"))
    held = await edge.connect(alice)
    assert (await ask(held)).status == 200
    authorities = party.place / "clients.pem"
    authorities.write_bytes(party.clients.cert_pem.bytes() + party.others.cert_pem.bytes())
    os.utime(authorities, (1, 1))
    await edge.time.advance(12)
    assert (await ask(held)).status == 200  # one more takes nothing away
    assert await asked(edge, bob) == 200
    party.others.cert_pem.write_to_path(authorities)
    os.utime(authorities, (2, 2))
    await edge.time.advance(12)
    assert await held.ended() == b""
    assert await refused(edge, alice)
    assert await asked(edge, bob) == 200
    with contextlib.suppress(ssl.SSLError):
        await held.close()


async def test_to_want_certificates_from_now_on_holds_for_those_that_are_connected(
    listen: Listen, party: Party
) -> None:
    edge = await party.open(listen, party.tls(client_ca=None))
    held = await edge.connect(party.context())
    assert (await ask(held)).status == 200
    edge.listener.become(HttpBounds(), party.tls(required=True))
    assert await held.ended() == b""
    assert await refused(edge, party.context())
    assert await asked(edge, party.context(party.clients.issue_cert("alice@example.org"))) == 200
    await held.close()


async def test_a_proxys_own_certificate_says_nothing_of_those_for_whom_it_asks(
    listen: Listen, party: Party
) -> None:
    edge = await party.open(listen, party.tls())
    edge.listener.app.mcp.guard_by(Guard(listen_host="127.0.0.1", proxies=["127.0.0.1"]))
    assert await asked(edge, party.context(party.clients.issue_cert("proxy.example.org"))) == 200
    assert party.shown == [None]


def test_authorities_that_cannot_be_used_are_said(party: Party) -> None:
    for name, text in (("none.pem", None), ("empty.pem", ""), ("bad.pem", "not a certificate")):
        if text is not None:
            (party.place / name).write_text(text)
        with pytest.raises(SettingsError, match=name):
            server_context(party.tls(client_ca=name))
