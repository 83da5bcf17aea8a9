"""A denied call's id is explained by the gateway that denied it, and what is explained is what happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.integration.gateway.gateway import Gateway, Wire, server

Make = Callable[..., Gateway]

POLICIES = """
@id("tools")
permit (principal in Role::"user", action in Action::"call", resource in Server::"a");
@id("short") @because("texts of ten characters and more are not echoed")
forbid (principal, action == Action::"a__echo", resource)
when { context.arguments.text like "*long*" };
"""
HIDDEN = '\n@id("write")\nforbid (principal, action == Action::"a__write", resource);\n'


@pytest.fixture
def made(gateway: Make, tmp_path: Path) -> Gateway:
    (tmp_path / "p.cedar").write_text(POLICIES + HIDDEN)
    settings = {
        "auth": {"type": "keys"},
        "policies": [{"type": "cedar", "files": [str(tmp_path / "*.cedar")]}],
    }
    return gateway(servers={"a": server("legacy_stdio")}, **settings).until_servers(a="ready")


def key(made: Gateway, name: str, role: str) -> tuple[str, str]:
    done = made.command("key", "create", "--name", name, "--role", role, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told["id"], told["key"]


def explain(made: Gateway, *arguments: str) -> dict[str, Any]:
    done = made.command("explain", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def test_a_denied_call_and_a_hidden_tool_are_explained_by_the_ids_of_their_errors(
    made: Gateway, tmp_path: Path
) -> None:
    key_id, secret = key(made, "alice", "user")
    client = Wire(made.url(), modern=True, key=secret)
    denied = await client.call("a__echo", {"text": "a long text"})
    hidden = await client.call("a__write", {"path": "/private"})
    told = explain(made, denied["error"]["data"]["id"])
    assert (told["reason"], told["rule"], told["who"]["subject"]) == ("denied", "p.cedar#short", "alice")
    assert told["reads"]["context.arguments.text"] == '"a long text"'
    assert (told["now"]["rule"], told["differs"]) == ("p.cedar#short", False)
    assert told["now"]["help"] == [
        "p.cedar#short (line 4) denies it: texts of ten characters and more are not echoed. It would not where "
        'context.arguments.text (now "a long text") is not like "*long*"'
    ]
    hid = explain(made, hidden["error"]["data"]["id"])
    assert (hid["reason"], hid["rule"], hid["own"]) == ("invalid_params", "p.cedar#write", "write")
    assert not hid["now"]["visible"]
    for arguments, allowed in (('{"text": "short"}', True), ('{"text": "too long"}', False)):
        for who in (("--as", "alice"), ("--key", key_id)):
            now = explain(made, *who, "--tool", "a__echo", arguments)
            assert (now["allowed"], now["who"]["roles"]) == (allowed, ["user"])
    shown = made.command("explain", "--as", "alice", "--tool", "a__write")
    assert "DENIED by p.cedar#write (policy)" in shown.stdout
    await by_the_api(made, denied["error"]["data"]["id"])
    asked = [each["data"] for each in made.records() if each["kind"] == "admin"]
    assert {each["via"] for each in asked} == {"control", "api"}
    assert "/private" not in json.dumps([each for each in made.records() if each["kind"] == "admin"])
    again(made, tmp_path, denied["error"]["data"]["id"])
    made.check_end()


async def by_the_api(made: Gateway, call: str) -> None:
    _, user = key(made, "bob", "user")
    _, admin = key(made, "ops", "admin")
    async with httpx2.AsyncClient(base_url=made.url("/api/v1")) as client:
        for secret, status in ((user, 403), (admin, 200)):
            headers = {"Authorization": f"Bearer {secret}"}
            got = await client.get(f"/explain/{call}", headers=headers)
            assert got.status_code == status, got.text
            asked = {"subject": "alice", "tool": "a__echo", "arguments": {"text": "short"}}
            got = await client.post("/explain", json=asked, headers=headers)
            assert got.status_code == status, got.text
    assert got.json()["allowed"]


def again(made: Gateway, tmp_path: Path, call: str) -> None:
    """With other policies, and where no gateway runs, it is told that it would be otherwise now."""
    (tmp_path / "p.cedar").write_text(POLICIES.replace("*long*", "*longer*"))
    made.until(lambda: '"policy.changed"' in made.said(), "the other policies")
    assert explain(made, call)["differs"]
    made.stop()
    done = made.command("explain", call)
    assert "now it would be otherwise: ALLOWED by p.cedar#tools" in done.stdout, done.stderr
    assert "no gateway runs here" in done.stderr
