"""Who may do what, over the wire: keys, principals, rules, hosts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.integration.gateway.gateway import Gateway, Wire, marked, sdk, server, until

Make = Callable[..., Gateway]


def make_key(gateway: Gateway, name: str, *more: str) -> tuple[str, str]:
    """Make an API key; give its id and itself."""
    done = gateway.command("key", "create", "--name", name, "--json", *more)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    return made["id"], made["key"]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that wants keys; tests make principals of their own."""
    place = tmp_path_factory.mktemp("keyed")
    settings = {
        "auth": {"type": "keys"},
        "servers": {"old": server("legacy_stdio"), "all": server("legacy_stdio", sharing="shared")},
        "endpoints": {
            "/mcp": {},
            "/ruled": {
                "rules": [
                    {"deny": {"tools": ["add"]}},
                    {"deny": {"servers": ["all"], "roles": ["user"]}},
                    {"allow": {"roles": ["user", "admin"]}},
                ]
            },
        },
    }
    made = Gateway(place, marked(settings, place)).start().until_servers(old="ready", all="ready")
    yield made
    made.check_end()


async def test_without_a_key_every_request_is_401_and_says_how(keyed: Gateway) -> None:
    for modern in (False, True):
        answered = await Wire(keyed.url(), modern=modern, key=None).ask(
            "server/discover" if modern else "initialize", {"protocolVersion": "2025-11-25"}
        )
        assert answered.status == 401
        assert answered.headers["www-authenticate"].startswith("Bearer")
    wrong = await Wire(keyed.url(), modern=True, key="tg_nonsense").ask("tools/list")
    assert wrong.status == 401
    assert "nonsense" not in keyed.said()
    assert "nonsense" not in json.dumps(wrong.message)


async def test_two_principals_do_not_share_what_a_server_remembers(keyed: Gateway) -> None:
    (_, one), (_, two) = make_key(keyed, "one"), make_key(keyed, "two")
    first = await Wire(keyed.url(), key=one).open()
    second = await Wire(keyed.url(), key=two).open()
    assert [await first.text("old__counter") for _ in range(3)] == ["1", "2", "3"]
    assert await second.text("old__counter") == "1"
    counted = int(await first.text("all__counter"))
    assert await second.text("all__counter") == str(counted + 1)
    pids = [json.loads(await each.text("old__look"))["pid"] for each in (first, second)]
    assert pids[0] != pids[1]


async def test_a_session_of_another_principal_is_unknown(keyed: Gateway) -> None:
    (_, one), (_, two) = make_key(keyed, "one"), make_key(keyed, "two")
    mine = await Wire(keyed.url(), key=one).open()
    stolen = Wire(keyed.url(), key=two, session=mine.session)
    assert (await stolen.ask("tools/list")).status == 404
    elsewhere = Wire(keyed.url("/ruled"), key=one, session=mine.session)
    assert (await elsewhere.ask("tools/list")).status == 404
    assert (await mine.ask("tools/list")).status == 200


async def test_a_revoked_key_stops_within_a_second(keyed: Gateway) -> None:
    ident, key = make_key(keyed, "soon-gone")
    wire = await Wire(keyed.url(), key=key).open()
    assert await wire.text("old__echo", {"text": "x"}) == "x"
    assert keyed.command("key", "revoke", ident).returncode == 0
    revoked = time.monotonic()
    while (answered := await wire.ask("tools/list")).status == 200:
        assert time.monotonic() - revoked < 1.5
    assert answered.status == 401


async def test_a_denied_tool_looks_unknown_is_not_listed_and_never_reached(keyed: Gateway) -> None:
    _, key = make_key(keyed, "user")
    _, admin = make_key(keyed, "boss", "--role", "admin")
    wire = await Wire(keyed.url("/ruled"), key=key).open()
    names = {tool["name"] for tool in (await wire.tools())["tools"]}
    assert "old__echo" in names
    assert "old__add" not in names
    assert not any(name.startswith("all__") for name in names)
    denied, unknown = await wire.call("old__add", {"a": 1, "b": 2}), await wire.call("old__nonsuch")
    assert denied["error"]["code"] == unknown["error"]["code"] == -32602
    assert denied["error"]["message"].replace("add", "") == unknown["error"]["message"].replace("nonsuch", "")
    boss = await Wire(keyed.url("/ruled"), key=admin).open()
    assert await boss.text("all__echo", {"text": "yes"}) == "yes"
    assert (await boss.call("old__add", {"a": 1, "b": 2}))["error"]["code"] == -32602
    kinds = [(each["kind"], each.get("name") or each.get("data", {}).get("name")) for each in keyed.records()]
    assert ("refused", "old__add") in kinds
    assert ("call.intent", "add") not in kinds


async def test_keys_work_with_the_official_client(keyed: Gateway) -> None:
    _, key = make_key(keyed, "sdk")
    for mode in ("legacy", "2026-07-28"):
        async with sdk(keyed.url(), mode, key=key) as client:
            assert (await client.call_tool("old__echo", {"text": "x"})).content[0].text == "x"


async def test_no_key_stands_in_the_journal_or_the_log(keyed: Gateway) -> None:
    _, key = make_key(keyed, "quiet")
    wire = await Wire(keyed.url(), key=key).open()
    await wire.text("old__echo", {"text": "a private matter"})
    for each in [keyed.output, *(keyed.state / "journal").iterdir()]:
        text = each.read_text(errors="replace")
        assert key not in text
        assert key.rpartition("_")[2] not in text
        assert "a private matter" not in text


async def test_dns_rebinding_is_refused_by_host_and_by_origin(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")})
    for header in ({"Host": "attacker.example"}, {"Origin": "http://attacker.example"}, {"Origin": "null"}):
        answered = await Wire(made.url(), modern=True, more=header).ask("server/discover")
        assert answered.status == 403, header
    assert (await Wire(made.url(), modern=True).ask("server/discover")).status == 200


async def test_a_gateway_without_authentication_refuses_to_listen_beyond_loopback(gateway: Make) -> None:
    made = gateway(servers={})
    made.stop()
    made.config.write_text("listen: 0.0.0.0:0\nservers: {}\n")
    done = made.command("serve")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "listen" in done.stderr


async def test_the_calls_of_one_principal_are_bounded(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")}, limits={"calls_per_principal": 2})
    made.until_servers(old="ready")
    wire = await Wire(made.url()).open()
    headers, body = wire.request("tools/call", {"name": "old__slow", "arguments": {"seconds": 5}}, 1)
    async with httpx2.AsyncClient(timeout=10) as http:
        slow = [
            asyncio.create_task(http.post(wire.url, json={**body, "id": n}, headers=headers)) for n in (1, 2)
        ]
        await until(lambda: made.status()["in_flight"] == 2, "two calls to be under way")
        third = await wire.call("old__echo", {"text": "x"})
        assert third["error"]["code"] == -31006
        for each in (1, 2):
            await wire.send("notifications/cancelled", {"requestId": each}, None)
        answers = [answered.json() for answered in await asyncio.gather(*slow)]
        assert {answer["error"]["code"] for answer in answers} == {-31008}
    assert await wire.text("old__echo", {"text": "free again"}) == "free again"
