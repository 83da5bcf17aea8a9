"""Attacks that are known from elsewhere, on a real gateway as somebody who has a key, or none, could try them."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integration.gateway.gateway import Gateway, Wire, marked, server
from tests.integration.gateway.test_access import make_key
from tests.servers.launch import argv

POLICY = """
permit (principal in Role::"user", action, resource);
forbid (principal, action == Action::"old__echo", resource)
when { context.arguments has text && context.arguments.text like "*secret*" };
"""


class Recording(socketserver.ThreadingTCPServer):
    """A way to a server that keeps what was sent to it."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.heard = bytearray()
        self.port = port
        super().__init__(("127.0.0.1", 0), Passing)


class Passing(socketserver.BaseRequestHandler):
    server: Recording

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port)) as there:
            back = threading.Thread(target=self.back, args=(there,), daemon=True)
            back.start()
            while data := self.request.recv(65536):
                self.server.heard += data
                there.sendall(data)
            there.shutdown(socket.SHUT_WR)
            back.join(10)

    def back(self, there: socket.socket) -> None:
        while data := there.recv(65536):
            self.request.sendall(data)


@dataclass
class Site:
    """The gateway, a user's key, an administrator's, and what a remote server was sent."""

    gateway: Gateway
    key: str
    admin: str
    remote: Recording

    @property
    def port(self) -> int:
        return int(urlsplit(self.gateway.base).port or 0)

    def raw(self, data: bytes) -> bytes:
        """Send bytes, and give all that comes back until the gateway ends the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as there:
            there.sendall(data)
            found = b""
            while more := there.recv(65536):
                found += more
            return found

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Any:
        """Ask with headers of the test's own; give status, headers in lower case and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            got = connection.getresponse()
            return got.status, {name.lower(): value for name, value in got.getheaders()}, got.read()
        finally:
            connection.close()

    def post(self, tool: str = "old__echo", **more: str) -> tuple[dict[str, str], bytes]:
        """Give headers and body of a call of a modern client."""
        wire = Wire("", modern=True, key=self.key)
        headers, body = wire.request("tools/call", {"name": tool, "arguments": {"text": "x"}}, 1)
        return {**headers, "Content-Type": "application/json", **more}, json.dumps(body).encode()

    def intents(self) -> int:
        """Give how many calls went out."""
        return sum(each["kind"] == "call.intent" for each in self.gateway.records())


@contextmanager
def recorded() -> Iterator[tuple[Recording, str]]:
    """A remote server with a recording way to it; gives that and its URL."""
    with ExitStack() as stack:
        there = subprocess.Popen(argv("legacy_http", "--answers", "json"), stdout=subprocess.PIPE)
        stack.callback(there.wait, 10)
        stack.callback(there.terminate)
        assert there.stdout is not None
        stack.callback(there.stdout.close)
        url = urlsplit(there.stdout.readline().decode().split()[1])
        remote = stack.enter_context(Recording(url.port or 0))
        threading.Thread(target=remote.serve_forever, daemon=True).start()
        stack.callback(remote.shutdown)
        yield remote, f"http://127.0.0.1:{remote.server_address[1]}{url.path}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("attacked")
    (place / "p.cedar").write_text(POLICY)
    with recorded() as (remote, url):
        settings: dict[str, Any] = {
            "auth": {"type": "keys"},
            "servers": {"old": server("legacy_stdio"), "far": {"url": url}},
            "endpoints": {
                "/mcp": {},
                "/ruled": {"rules": [{"deny": {"tools": ["add"]}}, {"allow": {"roles": ["user"]}}]},
            },
            "policies": [{"type": "cedar", "files": ["p.cedar"]}],
        }
        made = Gateway(place, marked(settings, place))
        try:
            made.start().until_servers(old="ready", far="ready")
            _, key = make_key(made, "mallory", "--role", "user")
            _, admin = make_key(made, "olga", "--role", "admin")
            yield Site(made, key, admin, remote)
            made.check_end()
        finally:
            made.stop()


# -- confused deputy ------------------------------------------------------------------------------


async def test_nothing_that_a_client_is_known_by_is_passed_on_to_a_server(site: Site) -> None:
    brought = {
        name: f"leak-{number}-{name.lower()}"
        for number, name in enumerate(
            ("Cookie", "Proxy-Authorization", "X-Api-Key", "DPoP", "Client-Cert", "X-Forwarded-For", "Forwarded",
             "X-Forwarded-Access-Token", "X-Amz-Security-Token", "Origin-Trial")
        )
    }  # fmt: skip
    site.remote.heard.clear()
    for client in (
        Wire(site.gateway.url(), modern=True, key=site.key, more=brought),
        await Wire(site.gateway.url(), key=site.key, more=brought).open(),
    ):
        assert await client.text("far__echo", {"text": "arrived"}) == "arrived"
    sent = bytes(site.remote.heard)
    assert sent.count(b"arrived") == 2
    assert b"leak-" not in sent
    assert site.key.encode() not in sent
    assert b"authorization" not in sent.lower()


# -- HTTP -----------------------------------------------------------------------------------------


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nTransfer-Encoding : chunked",
        b"Content-Length: 5\r\nTransfer-Encoding:\x0bchunked",
        b"Content-Length: 5\r\nTransfer-Encoding:\r\n chunked",
        b"Content-Length: 5\r\nX: a\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nTransfer-Encoding: xchunked",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked, identity",
        b"Content-Length: 5\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 0",
        b"Content-Length: 5, 0",
        b"Content-Length: +5",
        b"Content-Length: 0x5",
        b"Content-Length: 5 0",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ],
)
def test_a_request_that_could_end_in_two_places_is_none_and_nothing_after_it_is_read(
    site: Site, framing: bytes
) -> None:
    head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answers = site.raw(head + framing + b"\r\n\r\n0\r\n\r\n" + SMUGGLED)
    assert b"404" not in answers, answers
    assert answers.count(b"HTTP/1.1 ") <= 1, answers
    assert answers.startswith(b"HTTP/1.1 400 "), answers


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://127.0.0.1/mcp", b"evil.example", 200),
        (b"http://evil.example/mcp", b"127.0.0.1", 403),
        (b"http://127.0.0.1@evil.example/mcp", b"127.0.0.1", 403),
        (b"http://evil.example:80/ruled/../mcp", b"127.0.0.1", 404),
        (b"http://127.0.0.1//mcp", b"127.0.0.1", 404),
        (b"/mcp?/ruled", b"127.0.0.1", 200),
        (b"/ruled;/mcp", b"127.0.0.1", 404),
        (b"/ruled%00/mcp", b"127.0.0.1", 404),
        (b"\\mcp", b"127.0.0.1", 400),
        (b"*", b"127.0.0.1", 404),
    ],
)
def test_a_target_names_one_host_and_one_endpoint(
    site: Site, target: bytes, host: bytes, status: int
) -> None:
    headers, body = site.post()
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
    sent = b"POST %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\nContent-Length: %d\r\n%b\r\n%b" % (
        target,
        host,
        len(body),
        lines,
        body,
    )
    answer = site.raw(sent)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer


def test_no_page_of_another_origin_reads_or_sends_anything(site: Site) -> None:
    headers, body = site.post()
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for path in ("/mcp", "/ruled", "/api/v1/servers", "/api/v1/stops", "/metrics", "/readyz", "/healthz"):
        for origin in ("https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1:1"):
            own = origin.endswith(":1")  # a page of this machine
            for method, more, sent in (
                ("OPTIONS", asking, b""),
                ("POST", headers, body),
                ("GET", headers, b""),
            ):
                status, told, _ = site.ask(method, path, {**more, "Origin": origin}, sent)
                assert not [name for name in told if name.startswith("access-control")], (path, origin, told)
                assert own or status in (403, 405), (method, path, origin, status)


def test_of_two_credentials_neither_counts(site: Site) -> None:
    headers, body = site.post()
    del headers["Authorization"]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    for one, other in ((site.key, site.admin), (site.admin, "tg_nonsense"), ("tg_nonsense", site.admin)):
        both = f"Authorization: Bearer {one}\r\nAuthorization: Bearer {other}\r\n"
        sent = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{lines}{both}\r\n"
        assert site.raw(sent.encode() + body).startswith(b"HTTP/1.1 400 ")
        asked = f"GET /api/v1/servers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{both}\r\n"
        assert re.match(rb"HTTP/1.1 40[01] ", site.raw(asked.encode()))


def test_what_is_packed_is_not_unpacked(site: Site) -> None:
    headers, body = site.post(**{"Content-Encoding": "gzip"})
    before = site.intents()
    status, _, answer = site.ask("POST", "/mcp", headers, gzip.compress(body))
    assert (status, json.loads(answer)["error"]["code"]) == (400, -32700)
    assert site.intents() == before


# -- names ----------------------------------------------------------------------------------------


async def test_a_name_has_one_spelling(site: Site) -> None:
    client = Wire(site.gateway.url("/ruled"), key=site.key)
    client = await client.open()
    before = site.intents()
    told: set[tuple[int, str]] = set()
    for name in (
        "old__add", "OLD__add", "old__Add", "old__ADD", "old__add ", " old__add", "old__add\x00", "old__add\u200b",
        "old__\uff41dd", "\u043eld__add", "old___add", "old__a\u0064\u0323d", "old__add/", "old__%61dd", "add", "old__",
        "__add", "far__old__add", "old__old__add", "old__add\n", "old__nothing",
    ):  # fmt: skip
        error = (await client.call(name, {"a": 1, "b": 2}))["error"]
        told.add((error["code"], error["message"].replace(repr(name), "?").replace(name, "?")))
    assert len(told) == 1, told
    assert site.intents() == before
    assert await client.text("old__echo", {"text": "x"}) == "x"


async def test_an_argument_that_a_policy_reads_has_one_spelling(site: Site) -> None:
    for client in (
        Wire(site.gateway.url(), modern=True, key=site.key),
        await Wire(site.gateway.url(), key=site.key).open(),
    ):
        assert (await client.call("old__echo", {"text": "my secret"}))["error"]["code"] == -31003
        before = site.intents()
        for arguments in (
            {"Text": "my secret"}, {"text": "x", "TEXT": "my secret"}, {"TEXT": "my secret", "text": "x"},
            {"te\u0078t": "x", "teXt": "my secret"},
        ):  # fmt: skip
            error = (await client.call("old__echo", arguments))["error"]
            assert error["code"] == -32602, error
            assert "only by case" in error["message"]
        assert site.intents() == before
