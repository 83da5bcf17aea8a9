"""The HTTP channels against published servers and the official SDK's."""

from __future__ import annotations

import asyncio
import json

import pytest
from msgspec import Raw

from tests.conftest import unused_port
from tests.integration.channels.conftest import listening
from tidegate.channels.channel import Channel, Outbound
from tidegate.channels.handshake import Patience
from tidegate.channels.place import HttpPlace
from tidegate.channels.sse import SseChannel
from tidegate.channels.streamable import StreamableHttpChannel
from tidegate.domain.errors import ChannelClosed, ChannelTimeout, SessionForgotten
from tidegate.protocol.client import introduce
from tidegate.protocol.codec import encode
from tidegate.testing.scripted import until
from tidegate.testing.stream import FreeIntent, HeardEvents

CLIENT = introduce("1.0")


def calling(tool: str, arguments: object, **parts) -> Outbound:
    params = {"name": Raw(encode(tool)), "arguments": Raw(encode(arguments))}
    return Outbound("tools/call", params, **{"name": tool, "timeout": 30, **parts})


async def text_of(channel: Channel, tool: str, arguments: object, **parts) -> str:
    reply = await channel.call(FreeIntent(), calling(tool, arguments, **parts))
    return json.loads(bytes(reply.result or b""))["content"][0]["text"]


def streamable(url: str) -> tuple[StreamableHttpChannel, HeardEvents]:
    events = HeardEvents()
    return StreamableHttpChannel(events, HttpPlace(url), epoch="e1"), events


# The official SDK's server, in both eras


@pytest.mark.parametrize("how", [["--json"], []], ids=["json", "events"])
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_the_sdks_server_is_called_many_at_once(start_server, era: str, how: list[str]):
    server = await start_server("dual_era", "--http", *how)
    channel, _ = streamable(server.url)
    try:
        upstream = await channel.open(None, CLIENT, Patience(30, None if era == "modern" else 0))
        assert upstream.era == era
        assert (upstream.session is None) == (era == "modern")
        said = await asyncio.gather(*(text_of(channel, "echo", {"text": f"ü{n}\n"}) for n in range(40)))
        assert said == [f"ü{n}\n" for n in range(40)]
        tools = json.loads(bytes((await channel.ask(Outbound("tools/list"))).result or b""))
        assert "echo" in [tool["name"] for tool in tools["tools"]]
        reply = await channel.call(FreeIntent(), calling("zeit für\tÄpfel", {}))  # its name goes in base64
        assert b"mismatch" not in bytes(reply.error or reply.result or b"").lower()
    finally:
        await channel.close()


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_the_sdks_server_tells_progress_and_is_cancelled(start_server, era: str):
    server = await start_server("dual_era", "--http")
    channel, _ = streamable(server.url)
    heard: list[bytes] = []
    try:
        await channel.open(None, CLIENT, Patience(30, None if era == "modern" else 0))
        slow = text_of(
            channel,
            "slow",
            {"seconds": 0.2, "steps": 2},
            meta={"progressToken": Raw(b"17")},
            notify=lambda _, params: heard.append(bytes(params["progressToken"])),
        )
        assert await slow == "slept"
        assert heard == [b"17"] * 3
        with pytest.raises(ChannelTimeout):
            await text_of(channel, "slow", {"seconds": 30}, timeout=0.2)
        assert await text_of(channel, "echo", {"text": "still here"}) == "still here"
        assert channel.in_flight == 0
    finally:
        await channel.close()


async def test_a_session_that_the_sdks_server_does_not_know_is_told(start_server):
    server = await start_server("dual_era", "--http")
    first, _ = streamable(server.url)
    known = await first.open(None, CLIENT, Patience(30, 0))
    await first.close()  # which ends the session there
    second, _ = streamable(server.url)
    try:
        with pytest.raises(SessionForgotten):
            await second.open(known, CLIENT)
    finally:
        await second.close()


async def test_a_session_may_be_gone_on_with_by_another_channel(start_server):
    server = await start_server("dual_era", "--http")
    first, _ = streamable(server.url)
    known = await first.open(None, CLIENT, Patience(30, 0))
    second, _ = streamable(server.url)
    try:
        assert await second.open(known, CLIENT) is known
        assert await text_of(second, "echo", {"text": "again"}) == "again"
    finally:
        await second.close()
        await first.close()


# npm's server-everything, legacy only


@pytest.mark.node
async def test_a_legacy_streamable_server_is_called_and_tells_progress(everything):
    async with listening(everything, "streamableHttp") as url:
        channel, events = streamable(f"{url}/mcp")
        heard: list[bytes] = []
        try:
            upstream = await channel.open(None, CLIENT, Patience(30))
            assert (upstream.era, upstream.revision) == ("legacy", "2025-11-25")
            assert upstream.session
            said = await asyncio.gather(*(text_of(channel, "echo", {"message": str(n)}) for n in range(30)))
            assert said == [f"Echo: {n}" for n in range(30)]
            await text_of(
                channel,
                "trigger-long-running-operation",
                {"duration": 0.4, "steps": 2},
                meta={"progressToken": Raw(b'"mine"')},
                notify=lambda _, params: heard.append(bytes(params["progressToken"])),
            )
            assert heard == [b'"mine"'] * 2
            # what it says of its own accord comes on the stream it opened for us
            await text_of(channel, "toggle-simulated-logging", {})
            await until(lambda: any("message" in method for method, _ in events.notified), 20)
        finally:
            await channel.close()


@pytest.mark.node
async def test_a_server_that_was_started_again_is_told_apart_from_one_that_is_away(everything):
    port = unused_port()
    async with listening(everything, "streamableHttp", port) as url:
        channel, events = streamable(f"{url}/mcp")
        await channel.open(None, CLIENT, Patience(30))
        assert await text_of(channel, "echo", {"message": "1"}) == "Echo: 1"
    try:
        with pytest.raises(ChannelClosed):
            await text_of(channel, "echo", {"message": "2"})
        assert events.closed == []
        async with listening(everything, "streamableHttp", port):
            with pytest.raises(SessionForgotten):  # which this server says with 400
                await text_of(channel, "echo", {"message": "3"})
            assert len(events.closed) == 1
    finally:
        await channel.close()


@pytest.mark.node
async def test_a_server_of_the_older_transport_is_called_and_its_end_is_told(everything):
    events = HeardEvents()
    async with listening(everything, "sse") as url:
        channel = SseChannel(events, HttpPlace(f"{url}/sse"), epoch="e1")
        heard: list[bytes] = []
        assert (await channel.open(None, CLIENT, Patience(30))).era == "legacy"
        said = await asyncio.gather(*(text_of(channel, "echo", {"message": str(n)}) for n in range(30)))
        assert said == [f"Echo: {n}" for n in range(30)]
        await text_of(
            channel,
            "trigger-long-running-operation",
            {"duration": 0.4, "steps": 2},
            meta={"progressToken": Raw(b"5")},
            notify=lambda _, params: heard.append(bytes(params["progressToken"])),
        )
        assert heard == [b"5"] * 2
    await until(lambda: len(events.closed) == 1)
    with pytest.raises(ChannelClosed):
        await text_of(channel, "echo", {"message": "gone"})
    await channel.close()
