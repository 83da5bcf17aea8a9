"""What a client or a server may try that no honest one does, and what becomes of it."""

from __future__ import annotations

from typing import Any

from tests.unit.fleet.setting import spec
from tests.unit.gateway.asking import AskingServer
from tests.unit.gateway.setting import OPEN

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
