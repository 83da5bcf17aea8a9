"""The stdio channel against published servers, on real pipes."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest
from msgspec import Raw

from tests.integration.channels.pipe import running
from tidegate.channels.channel import Outbound
from tidegate.channels.handshake import Patience
from tidegate.channels.stdio import StdioChannel
from tidegate.domain.errors import ChannelClosed, ChannelTimeout
from tidegate.protocol.client import introduce
from tidegate.protocol.codec import encode
from tidegate.testing.scripted import until
from tidegate.testing.stream import FreeIntent, HeardEvents

CLIENT = introduce("1.0")
LONG = Patience(60)


def calling(tool: str, arguments: object, **parts) -> Outbound:
    params = {"name": Raw(encode(tool)), "arguments": Raw(encode(arguments))}
    return Outbound("tools/call", params, **{"name": tool, "timeout": 30, **parts})


async def text_of(channel: StdioChannel, tool: str, arguments: object, **parts) -> str:
    reply = await channel.call(FreeIntent(), calling(tool, arguments, **parts))
    return json.loads(bytes(reply.result or b""))["content"][0]["text"]


def new_channel(epoch: str = "e1") -> tuple[StdioChannel, HeardEvents]:
    events = HeardEvents()
    return StdioChannel(events, epoch=epoch), events


@pytest.mark.network
async def test_a_dual_era_server_is_spoken_to_in_the_modern_era(time_server):
    channel, _ = new_channel()
    async with running(channel, *time_server) as stream:
        upstream = await channel.open(stream, None, CLIENT, LONG)
        assert (upstream.era, upstream.revision) == ("modern", "2026-07-28")
        assert json.loads(upstream.server_info)["name"] == "mcp-time"
        told = json.loads(await text_of(channel, "get_current_time", {"timezone": "Europe/Zurich"}))
        assert told["timezone"] == "Europe/Zurich"
        tools = await channel.ask(Outbound("tools/list"))
        assert json.loads(bytes(tools.result or b""))["resultType"] == "complete"
        await channel.close()


@pytest.mark.network
async def test_a_dual_era_server_that_starts_slower_than_the_probe_is_modern_all_the_same(time_server):
    channel, _ = new_channel()
    async with running(channel, *time_server) as stream:
        upstream = await channel.open(stream, None, CLIENT, Patience(60, probe=0.001))
        assert upstream.era == "modern"
        assert "UTC" in await text_of(channel, "get_current_time", {"timezone": "UTC"})
        await channel.close()


@pytest.mark.network
async def test_a_dual_era_server_that_is_not_probed_is_spoken_to_in_the_legacy_era(time_server):
    channel, _ = new_channel()
    async with running(channel, *time_server) as stream:
        upstream = await channel.open(stream, None, CLIENT, Patience(60, probe=0))
        assert (upstream.era, upstream.revision) == ("legacy", "2025-11-25")
        assert "UTC" in await text_of(channel, "get_current_time", {"timezone": "UTC"})
        await channel.close()


@pytest.mark.node
async def test_a_legacy_server_is_initialised_and_called_many_at_once(everything):
    channel, events = new_channel()
    async with running(channel, *everything, "stdio") as stream:
        upstream = await channel.open(stream, None, CLIENT, LONG)
        assert (upstream.era, upstream.revision) == ("legacy", "2025-11-25")
        said = await asyncio.gather(
            *(text_of(channel, "echo", {"message": f"number {n}\n"}) for n in range(100))
        )
        assert said == [f"Echo: number {n}\n" for n in range(100)]
        assert channel.dropped.junk == channel.dropped.unknown == 0
        assert any(b"Starting" in line for line in events.logged)
        await channel.close()


@pytest.mark.node
async def test_progress_reaches_its_own_call_and_a_deadline_ends_another(everything):
    channel, _ = new_channel()
    heard: list[tuple[bytes, bytes]] = []
    async with running(channel, *everything, "stdio") as stream:
        await channel.open(stream, None, CLIENT, LONG)
        slow = asyncio.ensure_future(
            text_of(channel, "trigger-long-running-operation", {"duration": 30, "steps": 30}, timeout=0.3)
        )
        quick = text_of(
            channel,
            "trigger-long-running-operation",
            {"duration": 0.6, "steps": 3},
            meta={"progressToken": Raw(b'"mine"')},
            notify=lambda _, params: heard.append(
                (bytes(params["progressToken"]), bytes(params["progress"]))
            ),
        )
        assert "completed" in await quick
        assert heard == [(b'"mine"', str(step).encode()) for step in (1, 2, 3)]
        with pytest.raises(ChannelTimeout):
            await slow
        assert await text_of(channel, "echo", {"message": "still here"}) == "Echo: still here"
        await channel.close()


@pytest.mark.node
async def test_a_channel_that_takes_over_gets_no_answer_of_the_one_before(everything):
    first, _ = new_channel("first")
    async with running(first, *everything, "stdio") as stream:
        upstream = await first.open(stream, None, CLIENT, LONG)
        left = asyncio.ensure_future(
            text_of(first, "trigger-long-running-operation", {"duration": 0.8, "steps": 1})
        )
        await until(lambda: first.in_flight == 1)
        stream.write(b'{"jsonrpc":"2.0","id":"first-77","method":"tools/ca')  # half a line, then nobody
        second, events = new_channel("second")
        stream.events = second
        assert await second.open(stream, upstream, CLIENT, LONG) is upstream
        said = await asyncio.gather(*(text_of(second, "echo", {"message": str(n)}) for n in range(20)))
        assert said == [f"Echo: {n}" for n in range(20)]
        await until(lambda: second.dropped.unknown == 1)
        assert not left.done()
        left.cancel()
        assert events.closed == []
        await second.close()


@pytest.mark.node
async def test_a_server_that_is_killed_fails_its_calls_and_says_how_it_ended(everything):
    channel, events = new_channel()
    async with running(channel, *everything, "stdio") as stream:
        await channel.open(stream, None, CLIENT, LONG)
        slow = asyncio.ensure_future(
            text_of(channel, "trigger-long-running-operation", {"duration": 30, "steps": 3})
        )
        await until(lambda: channel.in_flight == 1)
        stream.signal(signal.SIGKILL)
        with pytest.raises(ChannelClosed, match="status -9") as failure:
            await slow
        assert failure.value.sent
        assert events.closed == ["exited with status -9"]


async def test_a_program_that_is_no_server_fails_the_handshake_with_its_end():
    channel, events = new_channel()
    async with running(channel, "/bin/sh", "-c", "echo hello; echo why >&2; exit 3") as stream:
        with pytest.raises(ChannelClosed, match="status 3"):
            await channel.open(stream, None, CLIENT, Patience(20))
        assert sorted(events.logged) == [b"stdout: hello", b"why"]
