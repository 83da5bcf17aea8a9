"""Where HTTP servers are: addresses, headers of settings, TLS and proxies. And no secret in an error."""

from __future__ import annotations

import asyncio
import base64
import ssl

import pytest
import trustme

from tidegate.channels.http.address import read_address, read_proxy
from tidegate.channels.http.dial import tls_context
from tidegate.channels.http.messages import HttpBounds, HttpRequest
from tidegate.channels.http.origin import HttpOrigin
from tidegate.channels.place import HttpPlace
from tidegate.domain.errors import ChannelClosed, SettingsError
from tidegate.domain.server import Secret
from tidegate.testing.scripted import serving

# Addresses


@pytest.mark.parametrize(
    ("url", "authority", "where", "path"),
    [
        ("http://host", b"host", "host:80", b"/"),
        ("https://Host/mcp?a=b#part", b"host", "host:443", b"/mcp?a=b"),
        ("http://host:8080/x", b"host:8080", "host:8080", b"/x"),
        ("https://[::1]:443/", b"[::1]", "[::1]:443", b"/"),
        ("http://[::1]:9/", b"[::1]:9", "[::1]:9", b"/"),
        ("http://bücher.example/%C3%BC", b"xn--bcher-kva.example", "xn--bcher-kva.example:80", b"/%C3%BC"),
    ],
)
def test_an_address_is_read(url: str, authority: bytes, where: str, path: bytes):
    address = read_address(url)
    assert (address.authority, address.where, address.path) == (authority, where, path)


@pytest.mark.parametrize(
    "url",
    ["", "host", "ftp://host/", "http://", "http://host:port/", "http://host:99999/", "http://[::1/",
     "http://user:secret@host/", "http://secret@host/", "http://host/a b", "http://host/ü", "http://a b/",
     f"http://{'x' * 64}.example/"],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_a_secret(url: str):
    with pytest.raises(SettingsError) as failure:
        read_address(url)
    assert "secret" not in str(failure.value)


def test_origins_are_told_apart_by_scheme_host_and_port():
    here = read_address("http://host/a")
    assert here.same_origin(read_address("http://HOST:80/b"))
    for other in ("https://host/a", "http://host:81/a", "http://other/a"):
        assert not here.same_origin(read_address(other))


def test_a_proxys_credentials_are_read_and_not_shown():
    proxy = read_proxy("http://user:p%40ss@proxy:3128")
    assert proxy.header() == b"Proxy-Authorization: Basic %b\r\n" % base64.b64encode(b"user:p@ss")
    assert "p@ss" not in repr(proxy)
    assert proxy.where == "proxy:3128"
    assert read_proxy("http://proxy").header() == b""


@pytest.mark.parametrize(
    "url", ["https://u:secret@proxy", "socks5://u:secret@proxy", "proxy", "http://:secret@"]
)
def test_what_is_no_proxy_is_refused_without_a_secret(url: str):
    with pytest.raises(SettingsError) as failure:
        read_proxy(url)
    assert "secret" not in str(failure.value)


# Headers of settings


def test_headers_of_settings_are_encoded_once():
    place = HttpPlace("http://host", {"Authorization": Secret("Bearer tök"), "X-A": Secret("1")})
    lines = place.header_lines()
    assert lines == "User-Agent: tidegate\r\nAuthorization: Bearer tök\r\nX-A: 1\r\n".encode("latin-1")
    assert "tök" not in repr(place)


def test_a_user_agent_of_settings_is_the_only_one():
    assert HttpPlace("http://h", {"User-Agent": Secret("x")}).header_lines() == b"User-Agent: x\r\n"


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Transfer-Encoding", "Accept", "Mcp-Session-Id", "MCP-Protocol-Version"],
)
def test_headers_that_the_protocol_hangs_on_cannot_be_set(name: str):
    with pytest.raises(SettingsError, match=name.lower()):
        HttpPlace("http://h", {name: Secret("secret")}).header_lines()


@pytest.mark.parametrize(("name", "value"), [("X", "secret\r\nY: z"), ("X", "secret→"), ("a b", "secret")])
def test_a_header_that_cannot_be_one_is_refused_without_its_value(name: str, value: str):
    with pytest.raises(SettingsError) as failure:
        HttpPlace("http://h", {name: Secret(value)}).header_lines()
    assert "secret" not in str(failure.value)


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(authority: trustme.CA, tmp_path_factory) -> ssl.SSLContext:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return tls_context(path)


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def _answer(peer) -> None:
    while True:
        await peer.request()
        await peer.answer(b'"over TLS"')


async def ask(url: str, **parts):
    origin = HttpOrigin(read_address(url), **parts)
    try:
        return [await origin.request(HttpRequest(b"GET", b"/", timeout=5)) for _ in range(2)][-1]
    finally:
        await origin.close()


async def test_a_server_whose_certificate_is_of_a_known_authority_is_spoken_to(authority, bundle):
    async with serving(_answer, server_tls(authority, "localhost")) as server:
        response = await ask(f"https://localhost:{server.port}", tls=bundle)
        assert response.body == b'"over TLS"'
        assert server.connections == 1


async def test_a_certificate_of_another_host_is_refused(authority, bundle):
    async with serving(_answer, server_tls(authority, "example.org")) as server:
        with pytest.raises(ChannelClosed, match="certificate refused") as failure:
            await ask(f"https://localhost:{server.port}", tls=bundle)
        assert not failure.value.sent


async def test_a_certificate_of_an_unknown_authority_is_refused():
    async with serving(_answer, server_tls(trustme.CA(), "localhost")) as server:
        with pytest.raises(ChannelClosed, match="certificate refused"):
            await ask(f"https://localhost:{server.port}")


async def test_a_server_that_speaks_no_tls_is_refused(bundle):
    async def plain(peer):
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(plain) as server:
        with pytest.raises(ChannelClosed, match=f"localhost:{server.port}"):
            await ask(f"https://localhost:{server.port}", tls=bundle)


def test_a_bundle_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="CA bundle"):
        tls_context(tmp_path / "missing.pem")
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    with pytest.raises(SettingsError, match="CA bundle"):
        tls_context(broken)


# Proxies


async def _forward(peer) -> None:
    """A proxy that makes the tunnel it is asked for."""
    request = await peer.reader.readuntil(b"\r\n\r\n")
    _forward.asked.append(request.decode())
    host, _, port = request.split(b" ")[1].decode().rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await peer.send(b"HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n")

    async def pump(source, sink):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()

    try:
        await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))
    finally:
        writer.close()
        await writer.wait_closed()


async def test_an_https_server_is_reached_through_a_tunnel_and_only_the_proxy_sees_its_credentials(
    authority, bundle
):
    _forward.asked = []
    seen = []

    async def secured(peer):
        while True:
            seen.append(await peer.request())
            await peer.answer(b"1")

    async with serving(secured, server_tls(authority, "localhost")) as server, serving(_forward) as proxy:
        response = await ask(
            f"https://localhost:{server.port}",
            tls=bundle,
            proxy=read_proxy(f"http://user:pass@127.0.0.1:{proxy.port}"),
        )
    assert response.body == b"1"
    (asked,) = _forward.asked
    assert asked.startswith(f"CONNECT localhost:{server.port} HTTP/1.1\r\nHost: localhost:{server.port}\r\n")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:pass').decode()}\r\n" in asked
    assert all("proxy-authorization" not in each.headers for each in seen)
    assert [each.target for each in seen] == ["/", "/"]


async def test_an_http_server_is_asked_for_through_a_proxy_by_its_whole_url():
    seen = []

    async def proxying(peer):
        while True:
            seen.append(await peer.request())
            await peer.answer(b"1")

    async with serving(proxying) as proxy:
        await ask("http://server.example:81", proxy=read_proxy(f"http://u:p@127.0.0.1:{proxy.port}"))
    assert seen[0].target == "http://server.example:81/"
    assert seen[0].headers["host"] == "server.example:81"
    assert seen[0].headers["proxy-authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "status 407"),
        (b"HTTP/1.1 502 Bad Gateway\r\nX: y\r\n\r\n", "status 502"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "status 0"),
        (b"nonsense\r\n\r\n", "status 0"),
        (b"x" * 10_000, "status 0"),
        (b"", "proxy closed the connection"),
    ],
)
async def test_a_proxy_that_refuses_fails_the_request_as_not_sent_and_without_a_secret(
    bundle, answer: bytes, said: str
):
    async def refusing(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(answer)

    async with serving(refusing) as proxy:
        with pytest.raises(ChannelClosed, match=said) as failure:
            await ask(
                "https://server.example",
                tls=bundle,
                proxy=read_proxy(f"http://user:secret@127.0.0.1:{proxy.port}"),
            )
    assert not failure.value.sent
    assert f"127.0.0.1:{proxy.port}" in str(failure.value)
    assert "secret" not in str(failure.value)


async def test_a_proxy_that_is_silent_costs_no_more_than_the_time_to_connect(bundle):
    async def silent(peer):
        await peer.reader.read()

    async with serving(silent) as proxy:
        with pytest.raises(ChannelClosed, match=r"within 0\.05 s"):
            await ask(
                "https://server.example",
                tls=bundle,
                proxy=read_proxy(f"http://127.0.0.1:{proxy.port}"),
                bounds=HttpBounds(connect=0.05),
            )
