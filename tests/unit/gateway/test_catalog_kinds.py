"""What servers of either era offer, of every kind: read, bounded, read again, kept; one that lies harms no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.unit.gateway.offering import USER, Cataloged, Offering
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.target import Kind
from tidegate.gateway.definitions import DefinitionStore
from tidegate.gateway.lister import LIST_AGAIN
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.scripted import until

TOOL, PROMPT, RESOURCE, TEMPLATE = Kind.TOOL, Kind.PROMPT, Kind.RESOURCE, Kind.TEMPLATE
OPEN = Callable[..., Awaitable[Cataloged]]


@pytest.fixture
async def catalog() -> AsyncIterator[OPEN]:
    """Open catalogs: `await catalog(one=Offering(…), two=…)`."""
    opened: list[Cataloged] = []
    time = LoopTime()

    async def opening(begin: bool = True, more: dict[str, Any] | None = None, **servers: Any) -> Cataloged:
        made = Cataloged(servers, time, **(more or {}))
        opened.append(made)
        return await made.begin() if begin else made

    yield opening
    for each in opened:
        await each.close()


def whole() -> dict[str, Any]:
    """Give one of each."""
    return {
        "tools": ["t"], "prompts": ["p"], "resources": ["memo://r"], "resourceTemplates": ["memo://{id}/x"],
    }  # fmt: skip


@pytest.mark.parametrize("modern", [True, False])
async def test_every_kind_of_a_server_is_listed_under_its_name(catalog: OPEN, modern: bool) -> None:
    made = await catalog(one=Offering(modern=modern, **whole()))
    await made.listed(TOOL, "one__t")
    await made.listed(PROMPT, "one__p")
    await made.listed(RESOURCE, "memo://one__r")
    await made.listed(TEMPLATE, "memo://one__{id}/x")
    assert made.result(TEMPLATE)["resourceTemplates"] == [{"uriTemplate": "memo://one__{id}/x"}]


async def test_only_what_a_server_declares_is_asked_for(catalog: OPEN) -> None:
    server = Offering({"prompts": {}}, **whole())
    made = await catalog(one=server)
    await made.listed(PROMPT, "one__p")
    assert {each for each in server.asked if each.endswith("/list")} == {"prompts/list"}
    assert made.result(TOOL)["tools"] == []
    assert made.missing(TOOL) == {}


async def test_a_server_without_templates_may_not_know_the_method(catalog: OPEN) -> None:
    server = Offering({"resources": {}}, resources=["memo://r"])
    server.errors = {"resources/templates/list": -32601}
    made = await catalog(one=server)
    await made.listed(RESOURCE, "memo://one__r")
    assert made.missing(TEMPLATE) == made.missing(RESOURCE) == {}


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (b"[]", "neither a result nor an error"),
        (b'{"prompts":{}}', "gave no list of prompts"),
        (b'{"prompts":[7]}', "gave no list of prompts"),
        (b'{"prompts":' + b"[" * 5000 + b"]" * 5000 + b"}", "no answer"),
    ],
)
async def test_a_kind_that_is_no_list_is_said_and_the_others_stand(
    catalog: OPEN, result: bytes, why: str
) -> None:
    server = Offering(**whole())
    server.raw = {"prompts/list": result}
    made = await catalog(one=server, two=Offering(**whole()))
    await made.listed(TOOL, "one__t")
    await made.listed(RESOURCE, "memo://one__r")
    await made.listed(PROMPT, "two__p")
    await made.time.advance(21)
    await until(lambda: why in str(made.missing(PROMPT)))
    assert made.missing(TOOL) == made.missing(RESOURCE) == {}
    assert made.result(PROMPT)["ttlMs"] == 0


async def test_pages_without_end_cost_that_kind_only(catalog: OPEN) -> None:
    server = Offering(**whole())
    server.endless = {"resources/list"}
    made = await catalog(one=server)
    await made.listed(TOOL, "one__t")
    await made.listed(TEMPLATE, "memo://one__{id}/x")
    await until(lambda: "does not end within 200 pages" in str(made.missing(RESOURCE)))
    assert made.shown(RESOURCE) == set()
    assert server.count("resources/list") == 201


async def test_a_kind_that_is_never_told_holds_up_no_other_and_is_tried_again(catalog: OPEN) -> None:
    server = Offering(**whole())
    server.mute = {"prompts/list"}
    made = await catalog(one=server)
    await made.listed(TOOL, "one__t")
    assert made.missing(PROMPT)["one"]["reason"] == "its prompts are not read yet"
    await made.time.advance(25)
    await until(lambda: "could not be read" in str(made.missing(PROMPT)))
    server.mute = set()
    await made.time.advance(LIST_AGAIN + 5)
    await made.listed(PROMPT, "one__p")
    assert made.missing(PROMPT) == {}
    assert server.count("tools/list") == 1


async def test_what_is_nested_too_deep_or_badly_named_is_left_out_and_said(catalog: OPEN) -> None:
    deep: Any = {}
    for _ in range(200):
        deep = {"properties": {"a": deep}}
    tools = [
        {"name": "deep", "inputSchema": deep},
        {"name": "x" * 300},
        {"name": "a\nb"},
        {"no": "name"},
        "t",
    ]
    resources = ["memo://" + "x" * 3000, "memo://\x00", "memo://r"]
    made = await catalog(one=Offering(tools=tools, resources=resources))
    await made.listed(RESOURCE, "memo://one__r")
    await made.listed(TOOL, "one__t")
    assert made.shown(TOOL) == {"one__t"}
    assert made.shown(RESOURCE) == {"memo://one__r"}
    dropped = "\n".join(made.endpoint.view.dropped)
    assert "one: tool 'deep' is left out: it is nested deeper than 128 levels" in dropped
    assert dropped.count("its name is too long or no line of plain text") == 4


async def test_schemas_pass_byte_for_byte_and_nothing_in_them_is_followed(catalog: OPEN) -> None:
    schema = (
        b'{"$schema":"https://json-schema.org/draft/2020-12/schema","$defs":{"a":{"$anchor":"q","x-odd":[1e400,-0.0]}},'
        b'"properties":{"a":{"$ref":"http://192.0.2.1/schema.json"}},"allOf":[{"\\u0069f":{}}]}'
    )
    server = Offering({"tools": {}})
    server.raw = {
        "tools/list": b'{"tools":[{"name":"t","inputSchema":' + schema + b',"execution":{"new":1}}]}'
    }
    made = await catalog(one=server)
    await made.listed(TOOL, "one__t")
    assert schema in made.endpoint.view.of(TOOL)["one__t"].encoded
    assert b'"execution":{"new":1}' in made.endpoint.view.of(TOOL)["one__t"].encoded


@pytest.mark.parametrize(
    ("method", "kinds"),
    [
        ("notifications/tools/list_changed", {"tools/list"}),
        ("notifications/prompts/list_changed", {"prompts/list"}),
        ("notifications/resources/list_changed", {"resources/list", "resources/templates/list"}),
        ("notifications/unheard/of", set()),
    ],
)
async def test_only_what_has_changed_is_read_again(catalog: OPEN, method: str, kinds: set[str]) -> None:
    server = Offering(**whole())
    made = await catalog(one=server)
    await made.listed(TOOL, "one__t")
    await made.listed(TEMPLATE, "memo://one__{id}/x")
    await made.time.advance(2)
    server.asked.clear()
    server.lists = {key: [f"new:{key}"] for key in server.lists}
    made.changes.clear()
    server.notify(method)
    await made.time.advance(2)
    assert {each for each in server.asked if each.endswith("/list")} == kinds
    told = {
        TOOL: "tools/list",
        PROMPT: "prompts/list",
        RESOURCE: "resources/list",
        TEMPLATE: "resources/templates/list",
    }
    await until(lambda: {told[kind] for _, kind in made.changes} == kinds)


async def test_an_endpoint_is_told_of_changes_that_it_shows_and_of_no_others(catalog: OPEN) -> None:
    endpoints = [EndpointSpec("/mcp", ("one",)), EndpointSpec("/few", ("one",), tools=("one__t",))]
    server = Offering(**whole())
    made = await catalog(one=server, more={"endpoints": endpoints})
    await until(lambda: {kind for _, kind in made.changes} == {TOOL, PROMPT, RESOURCE, TEMPLATE})
    await made.time.advance(2)
    made.changes.clear()
    server.lists["tools"] = ["t", "fresh"]
    server.notify("notifications/tools/list_changed")
    await made.listed(TOOL, "one__fresh")
    await until(lambda: made.changes != [])
    await made.time.advance(1)
    assert made.changes == [("/mcp", TOOL)]


async def test_a_modern_servers_list_is_read_again_when_it_holds_no_longer_and_somebody_asked(
    catalog: OPEN,
) -> None:
    server = Offering(
        {"tools": {}}, modern=True, hints={"ttlMs": 20_000, "cacheScope": "public"}, tools=["t"]
    )
    made = await catalog(one=server)
    await made.listed(TOOL, "one__t")
    assert 19_000 < made.result(TOOL)["ttlMs"] <= 20_000
    await made.time.advance(19)
    assert server.count("tools/list") == 1
    assert 0 <= made.result(TOOL)["ttlMs"] <= 1500
    await made.time.advance(3)
    assert server.count("tools/list") == 2
    await made.time.advance(300)
    quiet = server.count("tools/list")
    assert quiet <= 5
    await made.time.advance(60)
    assert server.count("tools/list") == quiet
    made.result(TOOL)
    await until(lambda: server.count("tools/list") == quiet + 1)


@pytest.mark.parametrize("hints", [{}, {"ttlMs": 0, "cacheScope": "private"}, {"ttlMs": -5}, {"ttlMs": "x"}])
async def test_a_modern_server_that_promises_nothing_is_asked_again_at_most_every_five_seconds(
    catalog: OPEN, hints: dict[str, Any]
) -> None:
    server = Offering({"tools": {}}, modern=True, hints=hints, tools=["t"])
    made = await catalog(one=server)
    await made.listed(TOOL, "one__t")
    for _ in range(30):
        assert made.result(TOOL)["ttlMs"] == 0
        await made.time.advance(1)
    assert 4 <= server.count("tools/list") <= 7


@pytest.mark.parametrize("modern", [True, False])
async def test_a_server_that_tells_of_changes_is_not_asked_unasked(catalog: OPEN, modern: bool) -> None:
    hints = {"ttlMs": 7000, "cacheScope": "private"} if modern else {}
    server = Offering({"tools": {"listChanged": True}}, modern=modern, hints=hints, tools=["t"])
    made = await catalog(one=server)
    await made.listed(TOOL, "one__t")
    await made.time.advance(30)
    assert made.result(TOOL)["ttlMs"] == (7000 if modern else 30_000)
    await made.time.advance(30)
    assert server.count("tools/list") == 1


async def test_a_list_holds_as_long_as_the_part_that_holds_least(catalog: OPEN) -> None:
    hints = {"ttlMs": 10_000_000, "cacheScope": "public"}
    told = Offering({"tools": {"listChanged": True}}, modern=True, hints=hints, tools=["t"])
    prompts = Offering({"prompts": {}}, prompts=["p"])
    made = await catalog(one=told, two=prompts)
    await made.listed(TOOL, "one__t")
    await made.listed(PROMPT, "two__p")
    assert made.result(TOOL)["ttlMs"] == 300_000
    assert made.result(PROMPT)["ttlMs"] == 0


async def test_everything_that_was_read_is_known_to_the_next_gateway(catalog: OPEN) -> None:
    capabilities = {"tools": {}, "prompts": {}, "resources": {"subscribe": True}, "completions": {}}
    hints = {"ttlMs": 5000, "cacheScope": "public"}
    first = await catalog(one=Offering(capabilities, modern=True, hints=hints, **whole()))
    await first.listed(TEMPLATE, "memo://one__{id}/x")
    await first.listed(TOOL, "one__t")
    store, spec = DefinitionStore(first.fleet.state), first.fleet.specs[0]
    async with asyncio.timeout(5):
        while (kept := await store.load(spec)) != first.catalog.definitions["one"]:
            await asyncio.sleep(0.002)
    assert kept is not None
    assert kept.modern
    assert kept.has("resources", "subscribe")
    await first.close()
    second = await catalog(begin=False, more={"state": first.fleet.state}, one=Offering())
    second.fleet.runtime.unavailable = "the engine does not answer"
    await second.begin()
    await second.time.settle()
    (listed,) = second.result(PROMPT)["prompts"]
    assert listed["name"] == "one__p"
    assert "completions" in second.endpoint.capabilities(USER, modern=True)
    second.fleet.runtime.unavailable = None


async def test_what_an_earlier_version_kept_is_read_and_what_a_later_one_kept_is_not(catalog: OPEN) -> None:
    made = await catalog(begin=False, one=Offering())
    store, spec = DefinitionStore(made.fleet.state), made.fleet.specs[0]
    key = f"definitions/{spec.digest()}/0000"
    await made.fleet.state.put(key, b'{"tools":[{"name":"old","inputSchema":{}}],"instructions":"Be kind."}')
    kept = await store.load(spec)
    assert kept is not None
    assert [each.name for each in kept.tools] == ["old"]
    assert (kept.instructions, kept.declares(TOOL), kept.declares(PROMPT)) == ("Be kind.", True, False)
    for unreadable in (
        b'{"form":3,"lists":{}}',
        b'{"form":2,"lists":{"tool":[]}}',
        b"{",
        b"7",
        b'{"tools":7}',
    ):
        await made.fleet.state.put(key, unreadable)
        assert await store.load(spec) is None


async def test_what_only_a_principals_own_workload_can_tell_is_read_where_nothing_was_known(
    catalog: OPEN,
) -> None:
    server = Offering(**whole())
    server.errors = {"prompts/list": -32603}
    made = await catalog(one=server)
    await made.listed(TOOL, "one__t")
    (await made.fleet.lease("one")).release()
    server.errors = {}
    server.lists["tools"] = ["whispered"]
    await made.time.advance(LIST_AGAIN + 10)
    await made.listed(PROMPT, "one__p")
    assert made.shown(TOOL) == {"one__t"}
