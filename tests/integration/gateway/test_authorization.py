"""Roles and policies on a real gateway: what each key may do, and how it changes while clients are there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.integration.gateway.gateway import Gateway, Json, Wire, marked, server, until
from tests.integration.gateway.test_access import make_key

Make = Callable[..., Gateway]
POLICIES = """
@id("add")
permit (principal in Role::"clerk", action == Action::"old__add", resource)
when { context.arguments.a.lessThanOrEqual(decimal("10.0")) };

@id("echo")
forbid (principal in Role::"clerk", action == Action::"old__echo", resource);
"""


def settings(**roles: Json) -> Json:
    """Give settings with roles beside the clerk's and the administrator's, and a policy."""
    return {
        "auth": {"type": "keys"},
        "servers": {"old": server("legacy_stdio")},
        "roles": {
            "admin": {"allow": [{}]},
            "clerk": {"allow": [{"servers": ["old"], "tools": ["counter", "echo"]}]},
            **roles,
        },
        "policies": [{"type": "cedar", "files": ["policies/*.cedar"]}],
    }


def write(made: Gateway, given: Json) -> None:
    text = yaml.safe_dump({"logs": {"format": "json"}, **marked(given, made.place)}, sort_keys=False)
    made.config.write_text(text)


def policies(place: Path, text: str) -> None:
    (place / "policies").mkdir(exist_ok=True)
    (place / "policies" / "claims.cedar").write_text(text)


async def tools(client: Wire) -> set[str]:
    """Give the tools that a client is shown."""
    answered = await client.ask("tools/list")
    return {each["name"] for each in answered.message["result"]["tools"]}


async def add(client: Wire, a: int) -> Json:
    """Call a tool whose arguments a policy reads."""
    found: Json = (
        await client.ask("tools/call", {"name": "old__add", "arguments": {"a": a, "b": 1}})
    ).message
    return found


async def test_roles_and_policies_decide_and_change_while_clients_are_there(tmp_path: Path) -> None:
    policies(tmp_path, POLICIES)
    made = Gateway(tmp_path, marked(settings(), tmp_path)).start().until_servers(old="ready")
    (_, clerk), (_, other) = (
        make_key(made, "clerk", "--role", "clerk"),
        make_key(made, "other", "--role", "lead"),
    )
    legacy, modern = await Wire(made.url(), key=clerk).open(), Wire(made.url(), modern=True, key=clerk)
    for client in (legacy, modern):
        assert await tools(client) == {"old__counter", "old__add"}
        assert (await add(client, 10))["result"]["content"][0]["text"] == "11"
        denied = (await add(client, 11))["error"]
        assert (denied["code"], denied["data"]["reason"]) == (-31003, "denied")
        hidden = await client.ask("tools/call", {"name": "old__echo", "arguments": {"text": "x"}})
        assert hidden.message["error"]["code"] == -32602
    records = {each["data"]["call"]: each["data"] for each in made.records() if each["kind"] == "refused"}
    assert records[denied["data"]["id"]]["rule"] == "no rule"
    assert records[hidden.message["error"]["data"]["id"]]["rule"] == "claims.cedar#echo"
    lead = Wire(made.url(), modern=True, key=other)
    assert await tools(lead) == set()

    write(made, settings(lead={"includes": ["clerk"], "allow": [{"tools": ["look"]}]}))
    await until(lambda: made.status()["settings"]["version"] == 2, "the reload")
    assert await tools(lead) == {"old__counter", "old__add", "old__look"}
    assert await tools(legacy) == {"old__counter", "old__add"}, "the session goes on"

    policies(tmp_path, 'permit (principal in Role::"lead", action, resource)')
    await until(lambda: "policy.refused" in made.said(), "the mistake to be told")
    assert await tools(lead) == {"old__counter", "old__add", "old__look"}, "what is wrong is not in force"
    policies(tmp_path, POLICIES + '@id("none") forbid (principal, action, resource);')

    async with asyncio.timeout(20):
        while await tools(lead):
            await asyncio.sleep(0.02)
    assert "error" in await add(legacy, 1)
    made.check_end()


async def test_a_mistake_in_policies_keeps_the_gateway_from_starting(tmp_path: Path) -> None:
    policies(tmp_path, "permit (principal, action, resourc);")
    made = Gateway(tmp_path, settings())
    done: Any = made.command("serve")
    assert done.returncode != 0
    assert "claims.cedar" in done.stdout + done.stderr, json.dumps([done.stdout, done.stderr])
