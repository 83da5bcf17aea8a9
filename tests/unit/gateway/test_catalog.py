"""The merged tools of an endpoint, kept current: pages, changes, what is kept, what is too much."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.setting import OPEN, GatewaySetting
from tidegate.domain.target import Kind
from tidegate.gateway.lister import RELIST
from tidegate.gateway.listing import MOST
from tidegate.gateway.lists import PAGE
from tidegate.testing.memory_server import MemoryServer
from tidegate.testing.scripted import until


async def names(made: GatewaySetting, who: str = "ann") -> list[str]:
    """List every page, and give the names."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        result = (
            await made.modern("tools/list", who, **({} if cursor is None else {"cursor": cursor}))
        ).result
        found += [tool["name"] for tool in result["tools"]]
        cursor = result.get("nextCursor")
        if cursor is None:
            return found


async def kept(made: GatewaySetting) -> None:
    """Wait until what was read is in the state store."""
    async with asyncio.timeout(5):
        while not await made.fleet.state.scan("definitions/"):
            await asyncio.sleep(0.002)


async def test_every_page_of_a_server_is_read_and_every_page_given(gateway: OPEN) -> None:
    server = MemoryServer(more=[f"t{n}" for n in range(2 * PAGE + 5)])
    server.page = 100
    made = await gateway(servers={"one": server}, wait=["one__t0"])
    found = await names(made)
    assert len(found) == len(set(found)) == len(server.tools)
    assert found[-1] == f"one__t{2 * PAGE + 4}"


@pytest.mark.parametrize("cursor", ["x", "t", "t-1", "t5", "tx", "t99999999999999999999", "", 7, {"a": 1}])
async def test_a_cursor_that_was_never_given_is_refused(gateway: OPEN, cursor: object) -> None:
    made = await gateway()
    told = await made.modern("tools/list", cursor=cursor)
    assert told.error["code"] == -32602


async def test_a_cursor_of_null_is_the_first_page(gateway: OPEN) -> None:
    made = await gateway()
    assert (await made.modern("tools/list", cursor=None)).result["tools"]


async def test_a_list_says_what_its_era_wants(gateway: OPEN) -> None:
    made = await gateway()
    modern = (await made.modern("tools/list")).result
    assert (modern["resultType"], modern["ttlMs"], modern["cacheScope"]) == ("complete", 30000, "private")
    legacy = (await (await made.client()).ask("tools/list")).result
    assert legacy.keys() == {"tools"}
    assert legacy["tools"] == modern["tools"]


async def test_a_change_that_a_server_tells_of_is_read_and_shown(gateway: OPEN) -> None:
    made = await gateway()
    server = made.fleet.servers["one"]
    before = await names(made)
    server.tools = [*server.tools, "fresh"]
    server.tools.remove("count")
    server.notify("notifications/tools/list_changed")
    await made.listed("/mcp", "one__fresh")
    assert await names(made) == [*(name for name in before if name != "one__count"), "one__fresh"]
    assert (await made.tool("one__count")).error["code"] == -32602


async def test_what_a_principals_own_workload_offers_is_shown_to_nobody_else(gateway: OPEN) -> None:
    made = await gateway()
    server = made.fleet.servers["one"]
    before = await names(made)
    assert (await made.tool("one__echo", text="mine now")).result  # ann has claimed the only workload
    server.tools = [*server.tools, "whispered"]
    asked = sum(each.get("method") == "tools/list" for each in server.heard)
    server.notify("notifications/tools/list_changed")
    await until(lambda: made.endpoints["/mcp"].has_own)
    await made.time.advance(5)
    assert sum(each.get("method") == "tools/list" for each in server.heard) == asked + 1
    assert await names(made, "bob") == before
    assert await names(made, "ann") == [*before, "one__whispered"]
    assert (await made.tool("one__whispered", "bob")).error["code"] == -32602
    assert (await made.tool("one__whispered", "ann")).result


async def test_many_notices_of_change_are_read_as_one(gateway: OPEN) -> None:
    made = await gateway()
    server = made.fleet.servers["one"]
    before = sum(each.get("method") == "tools/list" for each in server.heard)
    for _ in range(500):
        server.notify("notifications/tools/list_changed")
    server.tools = [*server.tools, "fresh"]
    server.notify("notifications/tools/list_changed")
    await made.listed("/mcp", "one__fresh")
    assert sum(each.get("method") == "tools/list" for each in server.heard) - before < 5


async def test_a_list_without_end_is_given_up_and_the_others_are_not_held_up(gateway: OPEN) -> None:
    endless = MemoryServer()
    endless.endless = True
    made = await gateway(spec("bad"), spec("good"), servers={"bad": endless}, wait=["good__echo"])
    await until(lambda: len([each for each in endless.heard if each["method"] == "tools/list"]) >= 200)
    view = made.endpoints["/mcp"]
    await until(lambda: "does not end" in str(view.view.missing))
    count = len(endless.heard)
    assert not any(name.startswith("bad") for name in await names(made))
    listed = (await made.modern("tools/list")).result["_meta"]["dev.tidegate/servers"]
    assert "does not end" in listed["bad"]["reason"]
    await made.time.settle()
    assert len(endless.heard) <= count + 1


async def test_more_tools_than_are_taken_from_a_server_are_given_up(gateway: OPEN) -> None:
    huge = MemoryServer(more=[f"t{n}" for n in range(MOST + 10)])
    huge.page = 5000
    made = await gateway(spec("bad"), spec("good"), servers={"bad": huge}, wait=["good__echo"])
    view = made.endpoints["/mcp"]
    await until(lambda: "larger than 20000 tools" in str(view.view.missing))
    assert not any(name.startswith("bad") for name in await names(made))


async def test_servers_that_do_not_tell_their_tools_hold_up_no_other(gateway: OPEN) -> None:
    mute = {f"bad{number}": MemoryServer() for number in range(20)}
    for server in mute.values():
        server.mute = {"tools/list"}
    specs = [spec(name) for name in mute]
    made = await gateway(*specs, spec("good"), servers=mute, wait=["good__echo"])
    assert (await made.tool("good__echo", text="x")).text == "x"
    missing = (await made.modern("tools/list")).result["_meta"]["dev.tidegate/servers"]
    assert missing.keys() == mute.keys()
    assert {each["reason"] for each in missing.values()} == {"its tools are not read yet"}


async def test_tools_that_could_not_be_read_are_asked_for_again_and_the_reason_is_said(gateway: OPEN) -> None:
    flaky = MemoryServer()
    flaky.refused = {"tools/list"}
    made = await gateway(spec("bad"), spec("good"), servers={"bad": flaky}, wait=["good__echo"])
    view = made.endpoints["/mcp"]
    await until(lambda: "could not be read" in str(view.view.missing))
    flaky.refused = set()
    await made.time.advance(40)
    await made.listed("/mcp", "bad__echo")
    assert view.view.missing[Kind.TOOL] == {}


async def test_what_was_read_once_is_known_before_the_server_is_up_again(gateway: OPEN) -> None:
    first = await gateway()
    await kept(first)
    await first.close()
    second = await gateway(state=first.fleet.state, begin=False)
    second.fleet.runtime.unavailable = "the engine does not answer"
    await second.begin()
    await second.time.settle()
    await until(lambda: "one" in second.endpoints["/mcp"].view.missing[Kind.TOOL])
    listed = (await second.modern("tools/list")).result
    tools = {tool["name"]: tool for tool in listed["tools"]}
    assert tools["one__echo"]["_meta"]["dev.tidegate/unavailable"] == "the engine does not answer"
    told = await second.tool("one__echo")
    assert told.error["code"] == -31001
    assert "the engine does not answer" in told.error["message"]
    second.fleet.runtime.unavailable = None
    await second.time.advance(6)
    await until(lambda: not second.endpoints["/mcp"].view.missing[Kind.TOOL])
    assert (await second.tool("one__echo", text="x")).text == "x"


async def test_what_was_kept_belongs_to_the_spec_it_was_read_from(gateway: OPEN) -> None:
    first = await gateway()
    await kept(first)
    await first.close()
    second = await gateway(spec("one", env={"A": "1"}), state=first.fleet.state, begin=False)
    second.fleet.runtime.hold = asyncio.Event()
    await second.begin()
    await second.time.settle()
    assert await names(second) == []


async def test_a_server_that_was_ended_when_idle_is_listed_as_callable(gateway: OPEN) -> None:
    made = await gateway()
    await made.tool("one__echo")
    await made.time.advance(920)
    await until(lambda: made.fleet.state_of("one") == "stopped")
    result = (await made.modern("tools/list")).result
    assert "_meta" not in result
    assert (await made.tool("one__echo")).error["code"] == -31005
    assert (await made.tool("one__echo", text="x")).text == "x"


async def test_a_list_that_was_given_before_is_for_that_principal_only(gateway: OPEN) -> None:
    made = await gateway()
    everything = await names(made)
    assert everything
    assert await names(made, "ann:guest") == []
    assert await names(made, "guest:guest") == []
    assert await names(made) == everything


async def test_a_server_that_never_stops_changing_is_read_so_often_and_no_more(gateway: OPEN) -> None:
    made = await gateway()
    server = made.fleet.servers["one"]
    asked = [each.get("method") for each in server.heard].count("tools/list")
    begun = asyncio.get_running_loop().time()
    for number in range(300):
        server.tools = [*server.tools[:2], f"t{number}"]
        server.notify("notifications/tools/list_changed")
        await asyncio.sleep(0.001)
    passed = asyncio.get_running_loop().time() - begun
    read = [each.get("method") for each in server.heard].count("tools/list") - asked
    assert read <= passed / RELIST + 1
    await made.listed("/mcp", "one__t299")


@pytest.mark.parametrize("odd", ["a\nb", "\x1b[2J", "a\u202eb", "x" * 257, "\x00", "a\u2028b"])
async def test_a_tool_whose_name_is_no_line_of_plain_text_is_left_out(gateway: OPEN, odd: str) -> None:
    made = await gateway(servers={"one": MemoryServer(more=[odd, "näme with a blank"])}, wait=["one__count"])
    found = {entry.target.name for entry in made.endpoints["/mcp"].view.entries}
    assert odd not in found
    assert "näme with a blank" in found
