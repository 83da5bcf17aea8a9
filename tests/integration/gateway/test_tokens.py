"""Tokens over the wire: a real gateway, and real issuers that come, go and change while it runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.gateway.gateway import Answered, Gateway, Wire, marked, server, until
from tests.servers.issuer import Issuer, issuing, key, sign

ROLES = {"claims": "groups", "map": {"grp-adjusters": "user"}}


@pytest.fixture
async def issuers() -> AsyncIterator[tuple[Issuer, Issuer]]:
    async with issuing() as one, issuing() as other:
        yield one, other


def settings(place: Path, *auth: dict[str, Any]) -> dict[str, Any]:
    return marked(
        {
            "auth": [{"type": "keys"}, *auth],
            "servers": {"old": server("legacy_stdio", sharing="shared")},
            "endpoints": {"/mcp": {}, "/other": {}},
            "logs": {"format": "json"},
        },
        place,
    )


def token(issuer: Issuer, gateway: Gateway, **claims: Any) -> str:
    """Sign a good token for the gateway's first endpoint, changed."""
    return issuer.token(**{"aud": gateway.url("/mcp"), "groups": ["grp-adjusters"], **claims})


async def ask(gateway: Gateway, sent: str, path: str = "/mcp") -> Answered:
    return await Wire(gateway.url(path), modern=True, key=sent).ask("tools/list")


async def test_tokens_of_issuers_that_come_and_go_are_taken_as_the_settings_say(
    tmp_path: Path, issuers: tuple[Issuer, Issuer]
) -> None:
    one, other = issuers
    first = {"type": "jwt", "issuer": one.url, "roles": ROLES}
    gateway = Gateway(tmp_path, settings(tmp_path, first))
    await asyncio.to_thread(gateway.start)
    try:
        good = token(one, gateway)
        await until(lambda: gateway.server("old")["state"] == "ready", "the server")
        assert (await ask(gateway, good)).status == 200
        wire = Wire(gateway.url(), modern=True, key=good)
        assert await wire.text("old__echo", {"text": "x"}) == "x"
        [record] = [each for each in gateway.records() if each["kind"] == "call.intent"]
        who = (record["issuer"], record["subject"], record["roles"], record["credential"])
        assert who == (one.url, "alice", ["user"], "t-1")

        for bad in (
            token(one, gateway, aud="https://elsewhere.example/mcp"),
            token(one, gateway, exp=1),
            sign(one.claims(aud=gateway.url("/mcp")), key("k1")),
            token(other, gateway),
        ):
            refused = await ask(gateway, bad)
            assert refused.status == 401
            assert bad.split(".")[1] not in json.dumps(refused.message)
        assert (await ask(gateway, good, "/other")).status == 401, "it is for another endpoint"
        nobody = await ask(gateway, token(one, gateway, sub="bob", groups=[]))
        assert nobody.message["result"]["tools"] == [], "who has no role is shown nothing"

        made = await asyncio.to_thread(gateway.command, "key", "create", "--name", "ci", "--json")
        assert (await ask(gateway, json.loads(made.stdout)["key"])).status == 200

        second = {"type": "jwt", "issuer": other.url, "roles": ROLES}
        gateway.config.write_text(yaml.safe_dump(settings(tmp_path, second)))
        reloaded = await asyncio.to_thread(gateway.command, "reload")
        assert reloaded.returncode == 0, reloaded.stdout + reloaded.stderr
        assert (await ask(gateway, good)).status == 401, "its issuer is not there any more"
        assert (await ask(gateway, token(other, gateway))).status == 200
        assert (await ask(gateway, json.loads(made.stdout)["key"])).status == 200
        assert good not in gateway.said()
    finally:
        await asyncio.to_thread(gateway.check_end)


async def test_a_gateway_starts_while_its_issuer_is_down_and_says_so_to_those_with_its_tokens(
    tmp_path: Path, issuers: tuple[Issuer, Issuer]
) -> None:
    one, other = issuers
    one.status = 503
    entries = ({"type": "jwt", "issuer": each.url, "roles": ROLES} for each in issuers)
    gateway = Gateway(tmp_path, settings(tmp_path, *entries))
    await asyncio.to_thread(gateway.start)
    try:
        refused = await ask(gateway, token(one, gateway))
        assert refused.status == 503
        assert refused.message["error"]["data"]["reason"] == "identity_unavailable"
        assert (await ask(gateway, token(other, gateway))).status == 200
        assert '"identity.unavailable"' in gateway.said()
        one.status = 200

        async def taken() -> bool:
            return (await ask(gateway, token(one, gateway))).status == 200

        async with asyncio.timeout(20):
            while not await taken():
                pass
    finally:
        await asyncio.to_thread(gateway.check_end)
