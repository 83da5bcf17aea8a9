"""The messages that `docs/protocol.md` and `docs/errors.md` show are what goes over the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.gateway.gateway import Gateway, Wire, server

DOCS = Path(__file__).resolve().parents[3] / "docs"
STATE = "tg1p.…"
"""What stands for a sealed state on the page."""


def shown(page: str, section: str) -> list[Any]:
    """Give the JSON that a section of a page shows."""
    text = (DOCS / page).read_text("utf-8").partition(f"# {section}\n")[2].partition("\n## ")[0]
    return [
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


async def test_a_legacy_servers_question_reaches_a_modern_client_as_the_page_shows(
    gateway: Callable[..., Gateway],
) -> None:
    request, asking, retry, answer = shown("protocol.md", "Parked calls")
    made = gateway(servers={"desk": server("features_stdio", "legacy")}).until_servers(desk="ready")
    wire = Wire(made.url(), modern=True, offer={"elicitation": {}})

    first = (await wire.ask(request["method"], request["params"])).message["result"]
    state = first["requestState"]
    assert state.startswith(STATE.removesuffix("…"))
    assert {**first, "requestState": STATE} == asking

    assert retry["params"]["requestState"] == STATE
    again = {**retry["params"], "requestState": state}
    assert (await wire.ask(retry["method"], again)).message["result"] == answer

    refused = (await wire.ask(retry["method"], again)).message["error"]
    assert (refused["code"], refused["data"]["reason"]) == (-32602, "state_invalid")

    [unknown] = shown("errors.md", "What clients get")
    got = (await wire.ask("tools/call", {"name": "desk__sign", "arguments": {}})).message
    assert re.fullmatch(r"[a-z0-9]+-\d+", got["error"]["data"]["id"])
    got["error"]["data"]["id"] = unknown["error"]["data"]["id"]
    assert got == unknown
    made.check_end()
