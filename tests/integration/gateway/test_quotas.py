"""Quotas of a real gateway: two principals, both eras, the command line, a reload, and a restart that keeps the day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.integration.gateway.gateway import Gateway, Wire, marked, server
from tests.integration.gateway.test_access import make_key

Json = dict[str, Any]
DAY: Json = {"per": "principal", "calls": "6/day", "name": "day"}
ECHO: Json = {"per": ["principal", "tool"], "calls": "3/h", "tools": ["desk__echo"]}
BUSY: Json = {"per": "all", "at_once": 50}


def settings(place: Path, *quotas: Json) -> Json:
    servers = {"desk": server("legacy_stdio", sharing="shared", stateless=True)}
    return marked({"auth": {"type": "keys"}, "servers": servers, "quotas": list(quotas)}, place)


async def used(wires: Sequence[Wire], tool: str, times: int) -> list[str]:
    """Call a tool, each client in its turn; give what came of it."""
    found: list[str] = []
    for number in range(times):
        message = await wires[number % len(wires)].call(
            tool, {"text": "x"} if tool == "desk__echo" else {"a": 1, "b": 2}
        )
        found.append("ok" if "result" in message else message["error"]["data"]["limit"])
    return found


async def test_quotas_hold_for_each_principal_in_both_eras_over_reloads_and_restarts(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, settings(tmp_path, DAY, ECHO, BUSY)).start().until_servers(desk="ready")
    (_, ann), (_, ben) = make_key(gateway, "ann"), make_key(gateway, "ben")
    anns = [await Wire(gateway.url(), key=ann).open(), Wire(gateway.url(), modern=True, key=ann)]
    bens = [Wire(gateway.url(), modern=True, key=ben)]

    assert await used(anns, "desk__echo", 5) == ["ok"] * 3 + ["principal-tool-h"] * 2
    assert await used(bens, "desk__echo", 2) == ["ok"] * 2
    assert await used(anns, "desk__add", 4) == ["ok"] * 3 + ["day"]
    refused = await anns[1].ask("tools/call", {"name": "desk__add", "arguments": {"a": 1, "b": 2}})
    error = refused.message["error"]
    assert (refused.status, error["code"]) == (200, -31015)
    assert 0 < error["data"]["retryAfter"] <= 86400

    told = json.loads(gateway.command("quotas", "--json").stdout)["quotas"]
    assert [(each["name"], each["refused"]) for each in told] == [
        ("day", 2),
        ("principal-tool-h", 2),
        ("all-at-once", 0),
    ]
    assert [(use["of"].split()[0], use["used"]) for use in told[0]["uses"]] == [("ann", 6), ("ben", 2)]
    shown = gateway.command("quotas").stdout.splitlines()
    assert shown[0].split() == ["QUOTA", "LIMIT", "PER", "USED", "OF", "AGAIN", "IN", "REFUSED"]
    assert any("6/day" in line and "ann" in line for line in shown)

    gateway.config.write_text(
        yaml.safe_dump({"logs": {"format": "json"}, **settings(tmp_path, {**DAY, "calls": "8/day"})})
    )
    gateway.command("reload")
    assert await used(anns, "desk__echo", 3) == ["ok", "ok", "day"]

    gateway.check_end()
    gateway.start().until_servers(desk="ready")
    bens = [Wire(gateway.url(), modern=True, key=ben)]
    anns = [Wire(gateway.url(), modern=True, key=ann)]
    assert await used(anns, "desk__echo", 1) == ["day"]
    assert await used(bens, "desk__echo", 7) == ["ok"] * 6 + ["day"]
    gateway.check_end()
