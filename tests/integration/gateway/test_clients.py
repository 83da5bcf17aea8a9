"""The official client, in both eras, through a real gateway in front of servers of both eras."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from tests.integration.gateway.gateway import MODERN, MODES, Gateway, Wire, marked, sdk, server, until

pytestmark = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that no test here harms, with servers of both eras."""
    place = tmp_path_factory.mktemp("standing")
    settings = {
        "servers": {
            "old": server("legacy_stdio", "--instructions", "Ask the old one nicely."),
            "both": server("dual_era", "--instructions", "The new one is quick."),
            "many": server("legacy_stdio", "--tools", "10000", "--page", "900"),
        },
        "endpoints": {
            "/mcp": {"servers": ["old", "both"]},
            "/many": {"servers": ["many"]},
            "/plain": {"servers": ["both", "old"], "names": "plain"},
            "/some": {"servers": ["old", "both"], "tools": ["old__e*", "both__add"]},
        },
    }
    gateway = Gateway(place, marked(settings, place)).start().until_servers(old="ready", both="ready")
    gateway.until_servers(many="ready")
    yield gateway
    gateway.check_end()


async def test_the_client_finds_out_the_era_and_the_instructions(standing: Gateway, mode: str) -> None:
    async with sdk(standing.url(), mode) as client:
        assert client.protocol_version == ("2025-11-25" if mode == "legacy" else MODERN)
    async with sdk(standing.url(), "auto") as client:
        assert client.protocol_version == MODERN
        assert client.instructions is not None
        old, both = client.instructions.index("old one nicely"), client.instructions.index("new one is quick")
        assert old < both


async def test_every_page_of_ten_thousand_tools_is_listed_once(standing: Gateway, mode: str) -> None:
    names: list[str] = []
    async with sdk(standing.url("/many"), mode) as client:
        page = await client.list_tools()
        while True:
            names += [tool.name for tool in page.tools]
            if page.next_cursor is None:
                break
            page = await client.list_tools(cursor=page.next_cursor)
    assert len(names) == len(set(names)) == 10_014
    assert {"many__echo", "many__filler_0", "many__filler_9999"} <= set(names)


async def test_a_tool_far_down_the_list_can_be_called(standing: Gateway, mode: str) -> None:
    async with sdk(standing.url("/many"), mode) as client:
        result = await client.call_tool("many__filler_9999", {"text": "x"})
        assert result.content[0].text == "filler"


@pytest.mark.parametrize("name", ["old", "both"])
async def test_a_call_reaches_the_server_of_either_era(standing: Gateway, mode: str, name: str) -> None:
    async with sdk(standing.url(), mode) as client:
        result = await client.call_tool(f"{name}__echo", {"text": "Grüße 🦀 \u2028"})
        assert result.content[0].text == "Grüße 🦀 \u2028"
        assert not result.is_error


@pytest.mark.parametrize("name", ["old", "both"])
async def test_progress_comes_in_order_and_before_the_answer(standing: Gateway, mode: str, name: str) -> None:
    heard: list[float] = []

    async def hear(done: float, total: float | None, message: str | None) -> None:
        heard.append(done)

    async with sdk(standing.url(), mode) as client:
        result = await client.call_tool(f"{name}__slow", {"seconds": 0.2, "steps": 4}, progress_callback=hear)
        assert result.content[0].text == "slept"
        assert heard == [0, 1, 2, 3, 4]


async def test_progress_of_calls_at_once_reaches_the_right_one(standing: Gateway, mode: str) -> None:
    heard: dict[int, list[float | None]] = {}

    async def one(client: object, steps: int) -> None:
        async def hear(done: float, total: float | None, message: str | None) -> None:
            heard.setdefault(steps, []).append(total)

        await client.call_tool(  # type: ignore[attr-defined]
            "old__slow", {"seconds": 0.2, "steps": steps}, progress_callback=hear
        )

    async with sdk(standing.url(), mode) as client:
        await asyncio.gather(*(one(client, steps) for steps in range(2, 12)))
    assert heard == {steps: [steps] * (steps + 1) for steps in range(2, 12)}


async def test_many_calls_at_once_get_each_its_own_answer(standing: Gateway, mode: str) -> None:
    async with sdk(standing.url(), mode) as client:
        results = await asyncio.gather(
            *(client.call_tool(f"{('old', 'both')[n % 2]}__echo", {"text": f"n{n}"}) for n in range(60))
        )
    assert [result.content[0].text for result in results] == [f"n{n}" for n in range(60)]


async def test_a_failing_tool_is_a_result_and_a_protocol_error_an_error(standing: Gateway, mode: str) -> None:
    async with sdk(standing.url(), mode) as client:
        result = await client.call_tool("old__raises", {})
        assert result.is_error
        assert "always fails" in result.content[0].text
        with pytest.raises(MCPError, match="always ends in a protocol error") as caught:
            await client.call_tool("old__protocol_error", {})
        assert caught.value.error.code == -32603
        assert caught.value.error.data == {"extra": [1, 2]}


async def test_an_unknown_tool_is_an_error_that_names_it(standing: Gateway, mode: str) -> None:
    async with sdk(standing.url(), mode) as client:
        with pytest.raises(MCPError, match="unknown tool: old__nothing") as caught:
            await client.call_tool("old__nothing", {})
        assert caught.value.error.code == -32602


async def test_a_cancelled_call_is_cancelled_at_the_server(standing: Gateway, mode: str) -> None:
    """Legacy: notifications/cancelled. Modern: the client closes the response stream."""
    async with sdk(standing.url(), mode) as client:
        before = json.loads((await client.call_tool("old__cancelled", {})).content[0].text)
        call = asyncio.create_task(client.call_tool("old__slow", {"seconds": 30}))
        await until(lambda: standing.status()["in_flight"], "the call to be under way")
        call.cancel()
        await asyncio.wait([call])
        await until(lambda: not standing.status()["in_flight"], "the call to end")
        after = json.loads((await client.call_tool("old__cancelled", {})).content[0].text)
        assert len(after) == len(before) + 1
        again = await client.call_tool("old__echo", {"text": "still here"})
        assert again.content[0].text == "still here"
    outcomes = [each["outcome"] for each in standing.records() if each["kind"] == "call.outcome"]
    assert "cancelled" in outcomes


async def test_a_client_that_is_gone_has_cancelled_only_if_it_is_modern(standing: Gateway, mode: str) -> None:
    modern = mode != "legacy"
    wire = Wire(standing.url(), modern=modern)
    if not modern:
        await wire.open()
    count = len(standing.records())
    headers, body = wire.request(
        "tools/call", {"name": "old__slow", "arguments": {"seconds": 1.0}}, f"gone-{mode}"
    )
    with pytest.raises(httpx2.ReadTimeout):
        async with httpx2.AsyncClient(timeout=0.3) as http:
            await http.post(wire.url, json=body, headers=headers)

    def outcome() -> str | None:
        found = [each for each in standing.records()[count:] if each["kind"] == "call.outcome"]
        return found[0]["outcome"] if found else None

    assert await until(outcome, "the outcome") == ("cancelled" if modern else "ok")


async def test_an_endpoint_shows_only_what_was_chosen_for_it(standing: Gateway, mode: str) -> None:
    async with sdk(standing.url("/some"), mode) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"old__echo", "both__add"}
        with pytest.raises(MCPError, match="unknown tool"):
            await client.call_tool("old__counter", {})


async def test_a_plain_endpoint_shows_own_names_and_the_first_declared_keeps_a_name(
    standing: Gateway, mode: str
) -> None:
    async with sdk(standing.url("/plain"), mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["echo"].description == "Say it again."  # the one of `both`
        assert {"crash", "add", "slow"} <= tools.keys()
        assert not any(re.search("__", name) for name in tools)
        assert (await client.call_tool("add", {"a": 2, "b": 3})).structured_content == {"result": 5}


async def test_a_large_result_comes_whole(standing: Gateway, mode: str) -> None:
    async with sdk(standing.url(), mode) as client:
        result = await client.call_tool("old__big", {"size": 3_000_000})
        assert len(result.content[0].text) == 3_000_000


async def test_sessions_of_one_principal_share_its_workload(standing: Gateway, mode: str) -> None:
    async with sdk(standing.url(), mode) as one, sdk(standing.url(), mode) as other:
        first = int((await one.call_tool("old__counter", {})).content[0].text)
        assert int((await other.call_tool("old__counter", {})).content[0].text) == first + 1


async def test_a_schema_passes_with_everything_in_it(standing: Gateway, mode: str) -> None:
    async with sdk(standing.url(), mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        text = tools["both__echo"].input_schema["properties"]["text"]
        assert text["description"] == "what to say"


async def test_a_call_costs_no_noticeable_wait(standing: Gateway, mode: str) -> None:
    async with sdk(standing.url(), mode) as client:
        await client.call_tool("old__echo", {"text": "warm"})
        began = time.monotonic()
        for _ in range(20):
            await client.call_tool("old__echo", {"text": "x"})
        assert time.monotonic() - began < 5
