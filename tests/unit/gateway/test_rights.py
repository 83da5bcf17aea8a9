"""Rights that change, or are decided by engines: for calls that wait, park and ask, for streams, and for long lists."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from tests.unit.access.engine import NOTHING, Engine
from tests.unit.fleet.setting import spec
from tests.unit.gateway.asking import AskingServer
from tests.unit.gateway.setting import OPEN, GatewaySetting, Told
from tests.unit.gateway.stream_setting import Site
from tests.unit.gateway.test_questions_of_servers import modern, person, retry
from tidegate.access.authorize import Authorizer, Grants
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule, Scope, Selection
from tidegate.domain.principal import Principal
from tidegate.domain.server import Sharing
from tidegate.domain.target import LISTED, Kind, Target
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.rights import Rights
from tidegate.gateway.view import Entry, View
from tidegate.ports.identity import Vouched
from tidegate.ports.policy import Verdict
from tidegate.protocol.codec import decode_message
from tidegate.protocol.inbound import read
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer
from tidegate.testing.scripted import until

Json = dict[str, Any]
YES, NO = Verdict(True, "p#yes"), Verdict(False, "p#no")
MAYBE = Verdict(True, "p#maybe", arguments=True)
ANN = Principal("t", "test", "ann", frozenset({"user"}))


def all_of(verdict: Verdict) -> Engine:
    return Engine(lambda *_: verdict)


async def opened(gateway: OPEN, policy: Engine, server: Any = None, **more: Any) -> GatewaySetting:
    """Open a gateway that a policy decides at, with one server."""
    servers = {} if server is None else {"one": server}
    wait = ["one__form"] if isinstance(server, AskingServer) else ["one__echo"]
    grants = Grants(policies=(policy,))
    one = spec("one", sharing=more.pop("sharing", Sharing.PRINCIPAL))
    return await gateway(one, servers=servers, wait=wait, grants=grants, **more)


# -- calls ------------------------------------------------------------------------------------


async def test_arguments_go_out_as_they_were_judged(gateway: OPEN) -> None:
    server, policy = MemoryServer(), Engine(lambda *_: MAYBE, lambda *_: YES)
    made = await opened(gateway, policy, server)
    session = await made.client()
    body = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"one__echo",'
        b'"arguments":{"text": "shown to nobody", "n": 1e2, "text": "last"}}}'
    )
    call = session.request("tools/call", {}, 1)
    headers = {b"mcp-protocol-version": b"2025-11-25", b"mcp-session-id": session.session.encode()}
    call.inbound = read(headers, decode_message(body))
    call.__post_init__()
    assert (await made.send(call)).text == "last"
    assert policy.judged == [{"text": "last", "n": 100.0}] * 2  # again after it waited for its server
    (intent,) = made.records("call.intent")
    assert intent["arguments"] == made.journal.digest(b'{"text":"last","n":100.0}')


@pytest.mark.parametrize("arguments", [b"[1]", b'"x"', b'{"a":1e999}', b'{"a":"\xc3"}', b"7"])
async def test_what_are_no_arguments_are_neither_judged_nor_sent(gateway: OPEN, arguments: bytes) -> None:
    server, policy = MemoryServer(), Engine(lambda *_: MAYBE, lambda *_: YES)
    made = await opened(gateway, policy, server)
    call = (await made.client()).request("tools/call", {"name": "one__echo"}, 1)
    call.params = {**call.params, "arguments": type(call.inbound.message.id)(arguments)}  # type: ignore[call-arg, misc]
    assert (await made.send(call)).error["code"] == -32602
    assert (policy.judged, server.calls) == ([], [])


@pytest.mark.parametrize(("decided", "judged", "code"), [(NO, YES, -32602), (MAYBE, NO, -31003)])
async def test_a_call_that_waited_is_decided_and_judged_again(
    gateway: OPEN, decided: Verdict, judged: Verdict, code: int
) -> None:
    server, policy = MemoryServer(), Engine(lambda *_: MAYBE, lambda *_: YES)
    made = await opened(gateway, policy, server)
    await made.tool("one__echo", "whoever takes the workload that is there")
    made.fleet.runtime.hold = asyncio.Event()
    waiting = asyncio.create_task(made.tool("one__echo", text="x"))
    await made.time.until(lambda: made.fleet.runtime.starting)
    policy.change(lambda *_: decided, lambda *_: judged)
    made.fleet.runtime.hold.set()
    assert (await waiting).error["code"] == code
    assert len(server.calls) == 1


async def test_a_parked_call_is_decided_again_when_its_client_comes_back(gateway: OPEN) -> None:
    policy = all_of(YES)
    made = await opened(gateway, policy, AskingServer())
    first = await modern(made, "form")
    policy.change(lambda *_: NO)
    assert (await modern(made, "form", **retry(first))).error["code"] == -32602
    assert made.outcomes() == ["input_required"]
    await made.built.rights.look_at_parked()
    assert len(made.built.parked) == 0
    assert made.limits.in_flight == 0


async def test_a_parked_call_ends_with_its_clients_credentials(gateway: OPEN) -> None:
    made = await opened(gateway, all_of(YES), AskingServer())
    await modern(made, "form")
    await made.built.rights.look_at_parked()
    assert len(made.built.parked) == 1
    made.identity.revoke("ann")
    await made.built.rights.look_at_parked()
    assert len(made.built.parked) == 0


@pytest.mark.parametrize("era", [False, True], ids=["legacy server", "modern server"])
async def test_a_server_asks_nothing_once_its_call_is_allowed_no_more(gateway: OPEN, era: bool) -> None:
    policy = all_of(YES)
    made = await opened(gateway, policy, AskingServer(modern=era))
    ann = await person(made, silent=True)
    calling = asyncio.create_task(ann.tool("one__twice"))
    await until(lambda: ann.asked)
    policy.change(lambda *_: NO)
    await ann.answer(ann.asked[0]["id"], {"action": "accept", "content": {"name": "Ann"}})
    told = await calling
    assert len(ann.asked) == 1, "the second question went nowhere"
    assert "error" in told.message or "-31011" in told.text
    assert [each["data"]["event"] for each in made.records("question")] == (
        ["asked", "answered"] if era else ["asked", "answered", "denied"]
    )


async def test_a_question_waits_for_an_engine_that_was_not_asked_yet(gateway: OPEN) -> None:
    policy = all_of(YES)
    made = await opened(gateway, policy, AskingServer())
    ann = await person(made)
    for again in (lambda: person_tool(ann), lambda: modern_tool(made)):
        policy.open.clear()
        policy.change()
        calling = asyncio.create_task(again())
        await until(lambda: policy.asked)
        policy.open.set()
        assert "Ann" in (await calling).text
        policy.asked.clear()


async def person_tool(ann: Any) -> Told:
    told: Told = await ann.tool("one__form")
    return told


async def modern_tool(made: GatewaySetting) -> Told:
    return await modern(made, "form", **retry(await modern(made, "form")))


# -- scopes -----------------------------------------------------------------------------------


async def test_a_token_is_refused_for_want_of_a_scope_and_sees_everything(gateway: OPEN) -> None:
    scopes = (Scope("one:echo", Selection(tools=("echo",))), Scope("one:all", Selection(("one",))))
    made = await gateway(spec("one"), endpoints=[EndpointSpec("/mcp", ("one",), scopes=scopes)])
    for held, echo, count in (
        (None, True, True), ({"one:echo"}, True, False), ({"one:all", "x"}, True, True), ({"x"}, False, False),
    ):  # fmt: skip
        made.identity.version += 1
        made.identity.scopes = None if held is None else frozenset(held)
        assert "one__count" in {each["name"] for each in (await made.modern("tools/list")).result["tools"]}
        for name, allowed in (("echo", echo), ("count", count)):
            told = await made.tool(f"one__{name}")
            if allowed:
                assert "result" in told.message
            else:
                wanted = {"one:all" if name == "count" else "one:echo", *(held or ())}
                assert (told.answer.status, set(told.error["data"]["scopes"])) == (403, wanted)


# -- streams ----------------------------------------------------------------------------------


async def test_a_change_of_policies_is_told_as_one_of_lists_and_streams_are_looked_at(gateway: OPEN) -> None:
    policy = all_of(YES)
    made = await opened(gateway, policy)
    heard: list[Json] = []
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"notifications": {"toolsListChanged": True}, "_meta": meta}
    headers = {b"mcp-protocol-version": b"2026-07-28", b"mcp-method": b"subscriptions/listen"}
    body = {"jsonrpc": "2.0", "id": 5, "method": "subscriptions/listen", "params": params}
    call = made.call(headers, body, "ann")
    call.say = lambda message: heard.append(json.loads(message)) is None
    listening = asyncio.create_task(made.pipeline.handle(call))
    await until(lambda: heard)
    await made.built.rights.look_at_endpoints()
    assert len(heard) == 1
    policy.change()
    await made.built.rights.look_at_endpoints()
    await made.built.rights.look_at_endpoints()
    assert [each["method"] for each in heard[1:]] == ["notifications/tools/list_changed"]
    made.identity.revoke("ann")
    await made.time.advance(2.0, step=0.5)
    assert listening.done()


async def test_a_stream_on_which_nothing_is_said_ends_within_a_second_of_its_credentials() -> None:
    LoopTime()
    site = Site("aaaa")
    stays = await site.get(site.initialize("bob"), who="bob")
    stream = await site.get(site.initialize())
    await site.streams.look()
    assert site.streams.listening == 2
    site.identity.revoke("ann")
    await site.streams.look()
    assert stream.task is not None
    await stream.task
    assert stays.task is not None
    assert not stays.task.done()
    await site.close()


@pytest.mark.parametrize("known", [True, False])
async def test_what_was_kept_of_an_answer_is_for_whoever_may_have_it_now(known: bool) -> None:
    LoopTime()
    site = Site("aaaa")
    session = site.initialize()
    call, connection = await site.post(session, 7)
    call.vouched = Vouched(Principal("t", "test", "ann", frozenset({"user", "more"})))
    call.target = Target("one", Kind.TOOL, "allowed to users") if known else None
    stream = site.streams.post(call)
    stream.attach(connection)
    stream.add(b'{"method":"progress"}')
    await stream.flow(connection, pause=True)
    last = connection.ids[-1]
    await connection.lose()
    site.streams.left(stream, connection)
    stream.finish(b'{"result":"told to those with more"}')
    other = await site.get(session, last)
    await until(lambda: other.ended)
    assert (b"told to those with more" in other.data) is known
    await site.close()


# -- long lists -------------------------------------------------------------------------------


def long(policies: tuple[Engine, ...], rules: tuple[Rule, ...]) -> Endpoint:
    """Give an endpoint that shows ten thousand tools."""
    declared = EndpointSpec("/mcp", ("one",), rules=rules)
    made = Endpoint(declared, Authorizer(declared, policies=policies))
    targets = (Target("one", Kind.TOOL, str(number)) for number in range(10_000))
    shown = {each.name: Entry(each.name, each, b'{"name":"%b"}' % each.name.encode()) for each in targets}
    made.show(View(declared, {Kind.TOOL: shown}))
    return made


@pytest.mark.parametrize("asks", [True, False], ids=["policy", "rules"])
async def test_a_list_of_ten_thousand_is_decided_beside_the_loop(asks: bool) -> None:
    engine = Engine(lambda _, target: YES if target.name.endswith("7") else NOTHING)
    made = long((engine,), ()) if asks else long((), (Rule(Effect.ALLOW, tools=("*7",)),))
    turns = 0
    done = asyncio.Event()

    async def others() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    going_on = asyncio.create_task(others())
    await asyncio.gather(*(made.prepare(ANN, Kind.TOOL) for _ in range(8)))
    done.set()
    await going_on
    assert turns > 10_000 / 512, "the loop had its turn between any two parts"
    assert len(engine.asked) == (10_001 if asks else 0), "and it was done once for all who wait"
    page = json.loads(made.list(Kind.TOOL, ANN, None, modern=True))
    assert [each["name"] for each in page["tools"]] == [str(number) for number in range(7, 10_000, 10)]
    assert len(engine.asked) == (10_001 if asks else 0)


class Quick(Engine):
    """An engine that costs nothing for each target."""

    async def decide(
        self, principal: Principal, endpoint: str, targets: Sequence[Target]
    ) -> Sequence[Verdict]:
        """Allow all of it."""
        return [YES] * len(targets)


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the calls within our own code that this thread makes."""
    count, before = [0], sys.getprofile()

    def called(frame: FrameType, event: str, _: object) -> None:
        count[0] += event in ("call", "c_call") and "tidegate" in frame.f_code.co_filename

    sys.setprofile(called)
    try:
        yield count
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("asks", [True, False], ids=["policy", "rules"])
async def test_the_loop_does_far_less_for_a_view_than_there_are_tools_in_it(asks: bool) -> None:
    made = long((Quick(),), ()) if asks else long((), (Rule(Effect.ALLOW),))
    people = [Principal("t", "test", name, frozenset({"user", name})) for name in ("ann", "bob", "cy")]
    with counted() as count:
        await asyncio.gather(*(made.prepare(each, Kind.TOOL) for each in people))
        for each in people:
            made.list(Kind.TOOL, each, None, modern=True)
            made.capabilities(each, modern=True)
            made.instructions(each)
    assert 0 < count[0] < 10_000, "the rest was done in a thread beside it"


# -- engines that come back -------------------------------------------------------------------


async def test_a_list_that_an_outage_made_short_is_made_anew_and_clients_are_told() -> None:
    clock, told = [0.0], list[tuple[str, Kind]]()
    engine = all_of(YES)
    engine.failing = RuntimeError("away")
    spec = EndpointSpec("/mcp", ("one",))
    made = Endpoint(spec, Authorizer(spec, policies=(engine,), clock=lambda: clock[0]))
    made.holds = lambda *_: 5000
    shown = {"a": Entry("a", Target("one", Kind.TOOL, "a"), b'{"name":"a"}')}
    made.show(View(spec, {Kind.TOOL: shown}))
    unused: Any = None
    rights = Rights({"/mcp": made}, unused, lambda path, kind: told.append((path, kind)), unused)

    async def listed() -> tuple[list[str], int]:
        await made.prepare(ANN, Kind.TOOL)
        page = json.loads(made.list(Kind.TOOL, ANN, None, modern=True))
        return [each["name"] for each in page["tools"]], page["ttlMs"]

    assert await listed() == ([], 0), "nobody is to keep it"
    for clock[0] in (0.5, 1.1, 2.0):
        await rights.look_at_engines()
    assert told == []
    engine.failing = None
    clock[0] = 4.0
    await rights.look_at_engines()
    await rights.look_at_engines()
    assert told == [("/mcp", kind) for kind in LISTED], "once"
    assert await listed() == (["a"], 5000)


async def test_while_a_list_waits_for_an_engine_others_are_answered(gateway: OPEN) -> None:
    policy = all_of(YES)
    made = await opened(gateway, policy)
    assert (await made.tool("one__echo", "bob", text="x")).text == "x"
    policy.open.clear()
    listing = asyncio.create_task(made.modern("tools/list", "ann:other"))
    await until(lambda: len(policy.asked) > 1)
    assert (await made.tool("one__echo", "bob", text="y")).text == "y"
    assert not listing.done()
    policy.open.set()
    assert (await listing).result["tools"]
