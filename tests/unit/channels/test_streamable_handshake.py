"""Handshakes with a Streamable HTTP server of exact bytes, in both eras."""

from __future__ import annotations

import json

import pytest

from tests.unit.channels.streamable_setting import (
    CLIENT,
    McpServer,
    channel_to,
)
from tidegate.channels.handshake import Patience
from tidegate.channels.place import HttpPlace
from tidegate.channels.streamable import StreamableHttpChannel
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelTimeout,
    SessionForgotten,
    UpstreamProtocolError,
    UpstreamRefused,
)
from tidegate.domain.workload import Upstream
from tidegate.testing.scripted import serving
from tidegate.testing.stream import HeardEvents

# Handshake


async def test_a_server_that_is_discovered_is_modern():
    async with channel_to(McpServer(modern=True)) as it:
        assert (it.channel.upstream.era, it.channel.upstream.session) == ("modern", None)
        assert it.channel.upstream.capabilities == b'{"tools": {}}'
    (probe,) = it.server.got
    assert probe.target == "/mcp?x=1"
    assert probe.headers["mcp-protocol-version"] == "2026-07-28"
    assert probe.headers["mcp-method"] == "server/discover"
    assert "mcp-name" not in probe.headers
    assert probe.headers["accept"] == "application/json, text/event-stream"
    assert probe.headers["content-type"] == "application/json"
    assert probe.json["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


@pytest.mark.parametrize(
    "refusal", ["400 Bad Request", "404 Not Found", "405 No", "200 OK", "500 No", "406 No"]
)
async def test_a_server_that_refuses_the_probe_without_a_modern_error_is_initialised(refusal: str):
    async with channel_to(McpServer(refusal=refusal)) as it:
        upstream = it.channel.upstream
        assert (upstream.era, upstream.revision, upstream.session) == ("legacy", "2025-11-25", "s-1")
    initialize, initialized = it.server.heard("initialize") + it.server.heard("notifications/initialized")
    assert "mcp-protocol-version" not in initialize.headers
    assert "mcp-method" not in initialize.headers
    assert initialized.headers["mcp-protocol-version"] == "2025-11-25"
    assert initialized.headers["mcp-session-id"] == "s-1"


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "200 OK"])
async def test_a_modern_error_keeps_the_probe_modern_whatever_the_status(status: str):
    class Refusing(McpServer):
        async def answer(self, peer, request):
            error = {"code": -32022, "message": "no", "data": {"supported": ["2030-01-01"]}}
            body = {"jsonrpc": "2.0", "id": request.json["id"], "error": error}
            await peer.answer(json.dumps(body).encode(), status)

    async with channel_to(Refusing(), opened=False) as it:
        with pytest.raises(UpstreamProtocolError, match="2030-01-01"):
            await it.channel.open(None, CLIENT)
        assert it.server.heard("initialize") == []


@pytest.mark.parametrize("status", [401, 403, 503])
async def test_a_refusal_that_says_nothing_of_the_era_ends_the_handshake(status: int):
    async with channel_to(McpServer(refusal=f"{status} No"), opened=False) as it:
        with pytest.raises(UpstreamRefused) as failure:
            await it.channel.open(None, CLIENT)
        assert failure.value.status == status
        assert it.server.heard("initialize") == []


async def test_a_server_that_is_silent_to_the_probe_is_initialised():
    class Silent(McpServer):
        async def answer(self, peer, request):
            if request.body and request.json["method"] == "server/discover":
                await peer.reader.read()
            else:
                await super().answer(peer, request)

    async with channel_to(Silent(), opened=False) as it:
        assert (await it.channel.open(None, CLIENT, Patience(5, probe=0.05))).era == "legacy"


async def test_a_handshake_that_takes_too_long_fails():
    async def silent(peer):
        await peer.reader.read()

    async with channel_to(silent, opened=False) as it:
        with pytest.raises(ChannelTimeout):
            await it.channel.open(None, CLIENT, Patience(0.05, probe=0.02))


async def test_a_server_that_is_not_there_fails_the_handshake_as_not_sent():
    async with serving(McpServer()) as listener:
        pass
    channel = StreamableHttpChannel(HeardEvents(), HttpPlace(listener.url), epoch="e")
    with pytest.raises(ChannelClosed) as failure:
        await channel.open(None, CLIENT)
    assert not failure.value.sent
    await channel.close()


@pytest.mark.parametrize("session", ["has space", "x" * 2000, "t\xe4st"])
async def test_a_session_id_that_cannot_be_one_is_refused(session: str):
    async with channel_to(McpServer(session=session), opened=False) as it:
        with pytest.raises(UpstreamProtocolError, match="session id"):
            await it.channel.open(None, CLIENT)


async def test_a_session_is_ended_when_the_channel_closes_and_no_other_is():
    async with channel_to(McpServer(), listening=False) as it:
        pass
    assert [(each.method, each.headers["mcp-session-id"]) for each in it.server.got[-1:]] == [
        ("DELETE", "s-1")
    ]
    async with channel_to(McpServer(session=None), listening=False) as it:
        pass
    assert [each.method for each in it.server.got] == ["POST"] * 3


async def test_a_known_session_is_used_again_and_not_initialised():
    known = Upstream("legacy", "2025-06-18", b"{}", b"{}", session="s-9")
    async with channel_to(McpServer(), known=known, listening=False) as it:
        assert it.channel.upstream is known
    (ping,) = it.server.heard("ping")
    assert (ping.headers["mcp-session-id"], ping.headers["mcp-protocol-version"]) == ("s-9", "2025-06-18")
    assert it.server.heard("initialize") == []


async def test_a_known_session_that_the_server_forgot_says_so():
    async def forgetful(peer):
        await peer.request()
        await peer.answer(b"", "404 Not Found")

    known = Upstream("legacy", "2025-06-18", b"{}", b"{}", session="s-9")
    async with channel_to(forgetful, opened=False) as it:
        with pytest.raises(SessionForgotten):
            await it.channel.open(known, CLIENT)
        assert it.events.closed == []
