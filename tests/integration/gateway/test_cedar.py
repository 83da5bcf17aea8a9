"""A gateway that decides by Cedar: lists, calls and the journal agree, and changed files are in force at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway.gateway import Gateway, Wire, server, until

Make = Callable[..., Gateway]

POLICIES = """
@id("tools")
permit (principal in Role::"user", action in Action::"call", resource in Server::"a");
@id("write")
forbid (principal, action == Action::"a__write", resource);
@id("short") @because("texts of ten characters and more are not echoed")
forbid (principal, action == Action::"a__echo", resource)
when { context.arguments.text like "??????????*" };
@id("no-secrets")
forbid (principal, action in Action::"call", resource)
when { context.arguments has text && context.arguments.text like "*secret*" };
"""
NOTHING = 'forbid (principal, action, resource in Server::"a");\n'


@pytest.fixture
def made(gateway: Make, tmp_path: Path) -> Gateway:
    (tmp_path / "p.cedar").write_text(POLICIES.replace('"??????????*"', '"*long*"'))
    settings = {"policies": [{"type": "cedar", "files": [str(tmp_path / "*.cedar")]}]}
    return gateway(servers={"a": server("legacy_stdio")}, **settings).until_servers(a="ready")


async def shown(client: Wire) -> set[str]:
    return {each["name"] for each in (await client.tools())["tools"]}


def refusal(made: Gateway, message: dict[str, Any]) -> dict[str, Any]:
    """Give what the journal has of a refused call, by the error that the client got."""
    call = message["error"]["data"]["id"]
    found = [
        each for each in made.records() if each["kind"] == "refused" and each["data"].get("call") == call
    ]
    assert len(found) == 1, made.records()
    return found[0]["data"]


async def test_what_a_policy_denies_is_neither_listed_nor_called_in_either_era(made: Gateway) -> None:
    for client in (Wire(made.url(), modern=True), await Wire(made.url()).open()):
        await neither_listed_nor_called(made, client)
    made.check_end()


async def neither_listed_nor_called(made: Gateway, client: Wire) -> None:
    names = await shown(client)
    assert "a__echo" in names
    assert "a__write" not in names
    hidden, unknown = await client.call("a__write", {"path": "/x"}), await client.call("a__nothing")
    assert hidden["error"]["code"] == unknown["error"]["code"]
    assert await client.text("a__echo", {"text": "hello"}) == "hello"
    told = await client.call("a__echo", {"text": "a long text"})
    assert told["error"]["code"] == -31003
    record = refusal(made, told)
    assert record["rule"] == "p.cedar#short"
    assert json.loads(record["reads"]["context.arguments.text"]) == "a long text"
    assert record["because"] == (
        "p.cedar#short (line 6) denies it: texts of ten characters and more are not echoed. It would not where "
        'context.arguments.text (now "a long text") is not like "*long*"'
    )
    secret = await client.call("a__echo", {"text": "my secret"})
    assert refusal(made, secret)["rule"] == "p.cedar#no-secrets"
    odd = await client.call("a__echo", {"text": ["long"]})
    assert odd["error"]["code"] == -31003


async def test_a_changed_file_is_in_force_within_moments_and_a_wrong_one_changes_nothing(
    made: Gateway, tmp_path: Path
) -> None:
    client = Wire(made.url(), modern=True)
    assert "a__echo" in await shown(client)
    (tmp_path / "q.cedar").write_text(NOTHING)
    began = time.monotonic()
    while await shown(client):
        assert time.monotonic() - began < 20
        await asyncio.sleep(0.01)
    assert "error" in await client.call("a__echo", {"text": "hello"})
    (tmp_path / "q.cedar").write_text("permit (")
    await until(lambda: '"policy.refused"' in made.said(), "the mistake to be told")
    assert "q.cedar:1" in made.said()
    assert not await shown(client)
    (tmp_path / "q.cedar").unlink()
    while "a__echo" not in await shown(client):
        assert time.monotonic() - began < 20
        await asyncio.sleep(0.01)
    made.check_end()


def test_a_gateway_does_not_start_with_wrong_policies(gateway: Make, tmp_path: Path) -> None:
    (tmp_path / "p.cedar").write_text("permit (principal, action, resource) when { principal.nobody };")
    with pytest.raises(
        AssertionError, match=r"p\.cedar:1: attribute `nobody` on entity type `User` not found"
    ):
        gateway(policies=[{"type": "cedar", "files": [str(tmp_path / "p.cedar")]}])
