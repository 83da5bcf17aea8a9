"""The fixture asks clients of both eras the same over a pipe, where the suite does not look."""

from __future__ import annotations

from typing import Any

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.servers.launch import argv


async def _answer(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"name": "Ada", "color": "blue"})


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_fixture_asks_a_client_of_either_era_over_stdio(mode: str) -> None:
    program, *arguments = argv("conformance")
    pipe = stdio_client(StdioServerParameters(command=program, args=arguments))
    async with Client(pipe, mode=mode, elicitation_callback=_answer) as client:
        asked_once = await client.call_tool("test_input_required_result_elicitation", {})
        asked_twice = await client.call_tool("test_input_required_result_multi_round", {})
        refused = await client.call_tool("test_error_handling", {})
    assert asked_once.content[0].text == "Hello, Ada!"
    assert asked_twice.content[0].text == "Ada likes blue."
    assert refused.is_error
