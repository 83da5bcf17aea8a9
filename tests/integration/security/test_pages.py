"""What the pages beside the endpoints tell, and to whom."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.gateway.gateway import Gateway, marked, server

EVIL = ({"Host": "evil.example"}, {"Host": "localhost.evil.example:80"}, {"Origin": "http://evil.example"})


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway as a newcomer starts it: on loopback, without keys."""
    settings = {"servers": {"secretname": server("legacy_stdio")}}
    made = Gateway(tmp_path, marked(settings, tmp_path))
    yield made.start()
    made.stop()


def ask(gateway: Gateway, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """Ask for a page with headers of the test's own."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(gateway.base).port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        got = connection.getresponse()
        return got.status, got.read().decode()
    finally:
        connection.close()


def test_a_web_page_that_is_bound_to_loopback_anew_learns_nothing_of_the_servers(gateway: Gateway) -> None:
    for path in ("/readyz", "/metrics", "/healthz"):
        for headers in EVIL:
            status, body = ask(gateway, path, headers)
            assert status == 403
            assert "secretname" not in body
        status, _ = ask(gateway, path, {})
        assert status == 200
    assert "secretname" in json.loads(ask(gateway, "/readyz", {"Host": "localhost"})[1])["servers"]


@pytest.mark.parametrize(
    "path",
    ["//mcp", "/mcp/", "/%6dcp", "/mcp%2f", "/mcp%00", "/./mcp", "/x/../mcp", "/MCP", "/mcp;x", "/v1/status"],
)
def test_a_path_has_one_spelling(gateway: Gateway, path: str) -> None:
    assert ask(gateway, path, {})[0] == 404
