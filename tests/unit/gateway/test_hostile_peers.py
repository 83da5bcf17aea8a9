"""What a client or a server may try that no honest one does, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.asking import AskingServer
from tests.unit.gateway.setting import OPEN, GatewaySetting
from tests.unit.gateway.test_any_params import Everything
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule

Json = dict[str, Any]


async def test_a_legacy_client_cannot_make_up_the_state_of_a_modern_servers_round(gateway: OPEN) -> None:
    server = AskingServer(modern=True)
    made = await gateway(spec("one"), servers={"one": server}, wait=["one__echo"])
    ann = await made.client("ann")
    told = await ann.ask(
        "tools/call",
        name="one__echo",
        arguments={},
        requestState="9",
        inputResponses={"form": {"action": "accept"}},
    )
    assert told.text == "[{}]"
    (called,) = [each for each in server.heard if each.get("method") == "tools/call"]
    assert called["params"].keys() == {"name", "arguments", "_meta"}


async def extended(gateway: OPEN, **endpoint: Any) -> GatewaySetting:
    """Open a gateway to a modern server that answers every method of an extension."""
    return await gateway(
        spec("one"), servers={"one": Everything(modern=True)}, wait=["one__echo"],
        endpoints=[EndpointSpec("/mcp", ("one",), **endpoint)],
    )  # fmt: skip


@pytest.mark.parametrize(
    "method",
    ["Tools/Call", "tools/call ", "tools /call", "/tools/call", "./tools/call", "x/../tools/call", "tools\u2044call",
     "resources/read/", "resources//read", "resources/./read", "RESOURCES/READ", "resources/templates/x", "x\x00/y",
     "notifications/x", "x" * 200 + "/y"],
)  # fmt: skip
async def test_what_could_be_taken_for_a_method_of_mcp_is_no_extensions(gateway: OPEN, method: str) -> None:
    made = await extended(gateway)
    ann = await made.client()
    assert "result" in (await ann.ask("x/y")).message
    told = await ann.ask(method, name="echo", uri="x://a", arguments={})
    assert told.error["code"] == -32601
    assert made.outcomes() == ["ok"]


@pytest.mark.parametrize(
    "endpoint",
    [
        {"rules": (Rule(Effect.ALLOW), Rule(Effect.DENY, resources=("x://secret/*",)))},
        {"rules": (Rule(Effect.ALLOW, tools=("echo",)),)},
        {"tools": ("one__echo",)},
    ],
    ids=["something is denied", "something is allowed", "something is chosen"],
)
async def test_no_method_of_an_extension_comes_to_what_the_rules_keep_back(
    gateway: OPEN, endpoint: Json
) -> None:
    made = await extended(gateway, **endpoint)
    ann = await made.client()
    told = await ann.ask("resources/directory/read", uri="x://secret/")
    assert (told.error["code"], made.outcomes()) == (-32601, [])
