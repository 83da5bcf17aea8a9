"""Handshake and adoption over a stdio stream, in memory. A rule is a test."""

from __future__ import annotations

import json

import pytest

from tests.unit.channels.stdio_setting import DISCOVERED, INITIALIZED, LEGACY, MODERN, Setting
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelTimeout,
    UpstreamProtocolError,
)

# Handshake


async def test_a_server_that_is_discovered_is_modern_and_is_not_initialised():
    it = Setting()
    opening = it.opening()
    probe = await it.stream.hear()
    assert probe["method"] == "server/discover"
    assert probe["params"]["_meta"] == {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "tidegate", "version": "1.2.3"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    it.stream.answer(probe, DISCOVERED)
    upstream = await opening
    assert (upstream.era, upstream.revision) == ("modern", "2026-07-28")
    assert json.loads(upstream.server_info)["name"] == "modern"
    assert json.loads(upstream.capabilities) == {"tools": {}}
    assert upstream.instructions == "be kind"
    assert it.stream.unheard == 0


@pytest.mark.parametrize("code", [-32601, -32602, -32600, 0, -32000])
async def test_a_server_that_answers_the_probe_with_any_other_error_is_initialised(code: int):
    it = Setting()
    opening = it.opening()
    it.stream.refuse(await it.stream.hear(), code)
    initialize = await it.stream.hear()
    assert initialize["method"] == "initialize"
    assert initialize["params"] == {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "tidegate", "version": "1.2.3"},
    }
    it.stream.answer(initialize, INITIALIZED)
    upstream = await opening
    assert (upstream.era, upstream.revision) == ("legacy", "2025-11-25")
    assert (await it.stream.hear())["method"] == "notifications/initialized"


async def test_a_server_that_says_nothing_to_the_probe_is_initialised():
    it = Setting()
    opening = it.opening(probe=0.01)
    assert (await it.stream.hear())["method"] == "server/discover"
    it.stream.answer(await it.stream.hear(), INITIALIZED)
    assert (await opening).era == "legacy"


async def test_a_modern_server_that_was_slow_to_start_is_still_found_to_be_modern():
    it = Setting()
    opening = it.opening(probe=0.01)
    probe, initialize = await it.stream.hear(), await it.stream.hear()
    it.stream.answer(probe, DISCOVERED)
    it.stream.refuse(initialize, -32601)
    assert (await opening).era == "modern"


async def test_a_legacy_server_that_was_slow_to_start_is_legacy_whatever_it_says_first():
    it = Setting()
    opening = it.opening(probe=0.01)
    probe, initialize = await it.stream.hear(), await it.stream.hear()
    it.stream.refuse(probe, -32601)
    it.stream.answer(initialize, INITIALIZED)
    assert (await opening).era == "legacy"


async def test_without_a_probe_a_server_is_initialised_at_once():
    it = Setting()
    opening = it.opening(probe=0)
    initialize = await it.stream.hear()
    assert initialize["method"] == "initialize"
    it.stream.answer(initialize, INITIALIZED | {"protocolVersion": "2024-11-05"})
    assert (await opening).revision == "2024-11-05"


async def test_a_server_that_chooses_an_unknown_revision_is_refused():
    it = Setting()
    opening = it.opening(probe=0)
    it.stream.answer(await it.stream.hear(), INITIALIZED | {"protocolVersion": "1999-01-01"})
    with pytest.raises(UpstreamProtocolError, match="1999-01-01"):
        await opening


async def test_a_modern_server_without_a_common_revision_is_refused_and_not_initialised():
    it = Setting()
    opening = it.opening()
    it.stream.refuse(await it.stream.hear(), -32022, {"supported": ["2031-01-01"]})
    with pytest.raises(UpstreamProtocolError, match="2031-01-01"):
        await opening
    assert it.stream.unheard == 0


async def test_a_server_that_names_legacy_revisions_when_asked_for_the_modern_one_is_initialised():
    it = Setting()
    opening = it.opening()
    it.stream.refuse(await it.stream.hear(), -32022, {"supported": ["2025-06-18"]})
    it.stream.answer(await it.stream.hear(), INITIALIZED | {"protocolVersion": "2025-06-18"})
    assert (await opening).revision == "2025-06-18"


async def test_a_server_that_refuses_initialize_fails_the_handshake_with_its_code():
    it = Setting()
    opening = it.opening(probe=0)
    it.stream.refuse(await it.stream.hear(), -32603)
    with pytest.raises(UpstreamProtocolError, match="-32603"):
        await opening


async def test_a_server_that_never_answers_fails_the_handshake_in_time():
    it = Setting()
    with pytest.raises(ChannelTimeout):
        await it.opening(probe=0.01, total=0.03)


async def test_a_stream_that_ends_during_the_handshake_fails_it_and_tells_nobody_else():
    it = Setting()
    opening = it.opening()
    await it.stream.hear()
    it.channel.closed("exited with status 1")
    with pytest.raises(ChannelClosed, match="exited with status 1"):
        await opening
    assert it.events.closed == []


async def test_a_stream_that_ended_before_the_handshake_fails_it():
    it = Setting()
    it.channel.closed("exited with status 3")
    with pytest.raises(ChannelClosed, match="status 3"):
        await it.opening()


# Adoption


async def test_an_adopted_workload_gets_a_bare_newline_then_a_ping_and_is_never_initialised():
    it = Setting()
    opening = it.opening(LEGACY)
    ping = await it.stream.hear()
    assert it.stream.written[0] == b"\n"
    assert ping["method"] == "ping"
    it.stream.answer(ping, {})
    assert await opening is LEGACY
    assert it.stream.unheard == 0


async def test_an_adopted_modern_workload_is_discovered_since_it_knows_no_ping():
    it = Setting()
    opening = it.opening(MODERN)
    probe = await it.stream.hear()
    assert probe["method"] == "server/discover"
    it.stream.answer(probe, DISCOVERED)
    assert await opening is MODERN


async def test_half_a_line_and_answers_for_the_one_before_us_are_dropped_on_adoption():
    it = Setting()
    opening = it.opening(LEGACY)
    ping = await it.stream.hear()
    it.channel.stdout(b'xt":"half"}]}}\n')
    it.stream.say({"jsonrpc": "2.0", "id": "old-1", "result": {"secret": "of another"}})
    it.stream.say({"jsonrpc": "2.0", "id": 1, "result": {}})
    assert not opening.done()
    it.stream.answer(ping, {})
    await opening
    assert it.channel.dropped.unknown == 2
    assert it.channel.dropped.junk == 1


async def test_an_adopted_workload_that_does_not_answer_is_given_up_in_time():
    it = Setting()
    with pytest.raises(ChannelTimeout):
        await it.opening(LEGACY, total=0.02)


async def test_a_workload_that_takes_nothing_more_is_heard_out_on_how_it_ended():
    it = Setting()
    await it.stream.close()
    opening = it.opening()
    await it.stream.refused.wait()
    it.channel.closed("exited with status 3")
    with pytest.raises(ChannelClosed, match="status 3"):
        await opening
