"""Legacy sessions hear what they subscribed to, from their own workload, as long as they may; nobody else does."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec
import pytest

from tests.unit.access.engine import Engine
from tests.unit.fleet.setting import spec
from tests.unit.gateway.hearing import ROLES, UNAVAILABLE, Ears, WatchChannel, principal, updated
from tidegate.access.authorize import Authorizer
from tidegate.domain.endpoint import EndpointSpec, Names
from tidegate.domain.errors import ChannelClosed, InvalidParams, MethodNotFound, Overloaded, ServerUnavailable
from tidegate.domain.principal import Principal
from tidegate.domain.server import Sharing
from tidegate.domain.target import Kind
from tidegate.fleet.workload import Workload
from tidegate.gateway.sessions import Session
from tidegate.gateway.subscribed import EACH
from tidegate.ports.policy import Verdict
from tidegate.protocol.subscriptions import UPDATED

ANN, BOB = principal("ann"), principal("bob")
SHOWN, OWN = "file://one__/a/b", "file:///a/b"


@pytest.fixture
async def ears() -> Ears:
    return Ears()


async def subscribe(ears: Ears, session: Session, who: Principal = ANN, uri: str = SHOWN) -> None:
    """Subscribe as a client does."""
    answer = await ears.subscriptions.subscribe(ears.legacy(who, session, "resources/subscribe", uri=uri))
    assert answer.body.endswith(b'"result":{}}')


async def unsubscribe(ears: Ears, session: Session, who: Principal = ANN, uri: str = SHOWN) -> None:
    """Unsubscribe as a client does."""
    await ears.subscriptions.unsubscribe(ears.legacy(who, session, "resources/unsubscribe", uri=uri))
    await ears.time.settle()


def workload(ears: Ears, sharing: str = "shared", server: str = "one") -> Workload:
    return ears.fleet.pools[server].workloads[sharing]


def channel(ears: Ears, sharing: str = "shared", server: str = "one") -> WatchChannel:
    return cast("WatchChannel", workload(ears, sharing, server).channel)


async def test_a_session_hears_by_its_own_name_of_what_it_subscribed_to(ears: Ears) -> None:
    session = await ears.session(ANN)
    got = ears.streams.open(session.key)
    await subscribe(ears, session)
    assert channel(ears).watched == {OWN}
    ears.subscriptions.notified("one", workload(ears), UPDATED, updated(OWN))
    assert got == [(UPDATED, {"uri": SHOWN})]
    assert all(lease.released for lease in ears.fleet.leases)


async def test_what_nobody_subscribed_to_is_told_to_nobody(ears: Ears) -> None:
    session, other = await ears.session(ANN), await ears.session(ANN)
    got, others = ears.streams.open(session.key), ears.streams.open(other.key)
    await subscribe(ears, session)
    ears.subscriptions.notified("one", workload(ears), UPDATED, updated("file:///other"))
    ears.subscriptions.notified("one", workload(ears), "notifications/odd", updated(OWN))
    ears.subscriptions.notified("one", workload(ears), UPDATED, {})
    assert (got, others) == ([], [])


async def test_a_part_of_a_resource_is_told_by_the_endpoints_name_for_it(ears: Ears) -> None:
    session = await ears.session(ANN)
    got = ears.streams.open(session.key)
    await subscribe(ears, session)
    ears.subscriptions.notified("one", workload(ears), UPDATED, updated(OWN + "/part"))
    assert got == [(UPDATED, {"uri": SHOWN + "/part"})]


async def test_a_plain_endpoint_tells_the_servers_own_names() -> None:
    ears = Ears(
        endpoints=[EndpointSpec("/mcp", ("one",), names=Names.PLAIN, rules=ROLES)],
    )
    session = await ears.session(ANN)
    got = ears.streams.open(session.key)
    ears.fleet.start("one", ANN.key)
    await subscribe(ears, session, uri=OWN)
    ears.subscriptions.notified("one", workload(ears), UPDATED, updated(OWN))
    assert got == [(UPDATED, {"uri": OWN})]


async def test_several_sessions_are_one_watch_each_hears_and_each_lets_go_alone(ears: Ears) -> None:
    sessions = [await ears.session(who) for who in (ANN, ANN, BOB)]
    streams = [ears.streams.open(each.key) for each in sessions]
    for session, who in zip(sessions, (ANN, ANN, BOB), strict=True):
        await subscribe(ears, session, who)
    assert len([asked for asked in channel(ears).asked if asked == ({OWN}, set())]) == 1
    await unsubscribe(ears, sessions[0])
    ears.subscriptions.notified("one", workload(ears), UPDATED, updated(OWN))
    assert [len(each) for each in streams] == [0, 1, 1]
    assert channel(ears).watched == {OWN}
    await unsubscribe(ears, sessions[1])
    await unsubscribe(ears, sessions[2], BOB)
    assert channel(ears).watched == set()


async def test_an_update_of_another_principals_workload_is_not_told() -> None:
    ears = Ears(spec("one"))
    ann, bob = await ears.session(ANN), await ears.session(BOB)
    anns, bobs = ears.streams.open(ann.key), ears.streams.open(bob.key)
    await subscribe(ears, ann)
    await subscribe(ears, bob, BOB)
    ears.subscriptions.notified("one", workload(ears, ANN.key), UPDATED, updated(OWN))
    assert (len(anns), bobs) == (1, [])


async def test_who_may_read_it_no_more_hears_no_more() -> None:
    ears = Ears()
    session = await ears.session(ANN)
    await subscribe(ears, session)
    denying = [EndpointSpec("/mcp", ("one",), resources=("one__x*",), rules=ROLES)]
    again = Ears(state=ears.state, endpoints=denying)
    await again.subscriptions.open()
    got = again.streams.open(session.key)
    again.subscriptions.notified("one", again.fleet.start("one", "shared"), UPDATED, updated(OWN))
    assert got == []


async def test_what_is_hidden_cannot_be_subscribed_to(ears: Ears) -> None:
    session = await ears.session(principal("eve", "barred"))
    with pytest.raises(InvalidParams):
        await subscribe(ears, session, principal("eve", "barred"))
    assert ears.fleet.leases == []


async def test_a_server_that_tells_of_no_resources_is_a_method_that_is_not_there(ears: Ears) -> None:
    ears.fleet.capabilities["one"] = b'{"resources":{"listChanged":true}}'
    with pytest.raises(MethodNotFound):
        await subscribe(ears, await ears.session(ANN))
    assert await ears.state.scan("session/subs/") == []


async def test_a_workload_that_lives_for_one_call_cannot_be_subscribed_to() -> None:
    ears = Ears(spec("one", sharing=Sharing.CALL))
    with pytest.raises(MethodNotFound):
        await subscribe(ears, await ears.session(ANN))


async def test_a_resource_that_the_server_refuses_is_refused_and_spoils_no_other(ears: Ears) -> None:
    session = await ears.session(ANN)
    got = ears.streams.open(session.key)
    await subscribe(ears, session)
    channel(ears).refuses = {"file:///bad"}
    with pytest.raises(InvalidParams):
        await subscribe(ears, session, uri="file://one__/bad")
    await ears.time.settle()
    assert channel(ears).asked[-1] == ({OWN}, set())
    ears.subscriptions.notified("one", workload(ears), UPDATED, updated("file:///bad"))
    ears.subscriptions.notified("one", workload(ears), UPDATED, updated(OWN))
    assert got == [(UPDATED, {"uri": SHOWN})]


async def test_a_server_that_does_not_answer_takes_no_subscription_and_none_is_kept(ears: Ears) -> None:
    ears.fleet.start("one", "shared")
    channel(ears).failing = ChannelClosed("it is gone")
    with pytest.raises(ServerUnavailable):
        await subscribe(ears, await ears.session(ANN))
    assert await ears.state.scan("session/subs/") == []
    ears.fleet.failing = UNAVAILABLE
    with pytest.raises(ServerUnavailable):
        await subscribe(ears, await ears.session(ANN))


async def test_letting_go_of_what_was_not_subscribed_to_is_no_fault(ears: Ears) -> None:
    await unsubscribe(ears, await ears.session(ANN))


async def test_a_workload_that_came_up_anew_is_asked_again(ears: Ears) -> None:
    session = await ears.session(ANN)
    got = ears.streams.open(session.key)
    await subscribe(ears, session)
    ears.subscriptions.workload_ready(ears.fleet.start("one", "shared"))
    await ears.time.settle()
    assert channel(ears).watched == {OWN}
    ears.subscriptions.notified("one", workload(ears), UPDATED, updated(OWN))
    assert len(got) == 1


async def test_what_a_restarted_server_refuses_spoils_nothing_else(ears: Ears) -> None:
    session = await ears.session(ANN)
    for number in range(3):
        await subscribe(ears, session, uri=f"file://one__/{number}")
    made = ears.fleet.start("one", "shared")
    channel(ears).refuses = {"file:///1"}
    ears.subscriptions.workload_ready(made)
    await ears.time.settle()
    assert channel(ears).asked[-1] == ({"file:///0", "file:///2"}, set())
    await subscribe(ears, session, uri="file://one__/3")
    assert channel(ears).asked[-1] == ({"file:///0", "file:///2", "file:///3"}, set())


async def test_a_workload_that_nobody_subscribed_to_is_asked_nothing(ears: Ears) -> None:
    ears.subscriptions.workload_ready(ears.fleet.start("one", "shared"))
    await ears.time.settle()
    assert channel(ears).asked == []


async def test_subscriptions_outlive_the_gateway(ears: Ears) -> None:
    session = await ears.session(ANN)
    await subscribe(ears, session)
    again = ears.again()
    await again.subscriptions.open()
    got = again.streams.open(session.key)
    again.subscriptions.workload_ready(again.fleet.start("one", "shared"))
    await again.time.settle()
    assert channel(again).watched == {OWN}
    again.subscriptions.notified("one", workload(again), UPDATED, updated(OWN))
    assert got == [(UPDATED, {"uri": SHOWN})]


@pytest.mark.parametrize("whole", [True, False], ids=["row", "row of versions that knew of roles alone"])
async def test_what_is_kept_of_a_subscription_is_enough_to_decide_again(ears: Ears, whole: bool) -> None:
    ann = Principal(
        "t", "i", "ann", frozenset({"user"}), frozenset({"g"}), "c", {"region": "eu", "n": ("a",)}
    )
    session = await ears.session(ann)
    await subscribe(ears, session, ann)
    (key,) = [key for key, _ in await ears.state.scan("session/subs/")]
    kept = msgspec.msgpack.decode(await ears.state.get(key) or b"", type=list[object])
    await ears.state.put(key, msgspec.msgpack.encode(kept if whole else kept[:6]))
    again, engine = ears.again(), Engine(lambda *_: Verdict(True, "p#yes"), reads=None)
    endpoint = again.endpoints["/mcp"]
    endpoint.become(endpoint.spec, Authorizer(endpoint.spec, policies=(engine,)), endpoint.view)
    await again.subscriptions.open()
    got = again.streams.open(session.key)
    again.subscriptions.notified("one", again.fleet.start("one", "shared"), UPDATED, updated(OWN))
    await again.time.settle()
    assert got == [(UPDATED, {"uri": SHOWN})], "it was told once an engine had said that it may be"
    assert [each.key for each in engine.told] == [ann.key]
    assert (engine.told[0].basis == ann.basis) is whole
    again.streams.held_by[session.key] = BOB
    again.subscriptions.notified("one", workload(again), UPDATED, updated(OWN + "/c"))
    await again.time.settle()
    assert engine.told[-1] == BOB, "who holds the stream counts"


async def test_a_session_that_comes_back_is_told_what_it_may_have_missed_and_its_servers_run(
    ears: Ears,
) -> None:
    session = await ears.session(ANN)
    await subscribe(ears, session)
    again = ears.again()
    await again.subscriptions.open()
    missed = list(again.subscriptions.missed(again.legacy(ANN, session, "ping")))
    assert [method for method, _ in missed] == [
        "notifications/tools/list_changed", "notifications/resources/list_changed", UPDATED,
    ]  # fmt: skip
    assert missed[-1][1] == updated(SHOWN)
    await again.time.settle()
    assert channel(again).watched == {OWN}


async def test_a_gateway_that_shares_the_state_hears_for_a_session_whose_stream_it_has(ears: Ears) -> None:
    other = ears.again()
    following = asyncio.create_task(other.subscriptions.run())
    await ears.time.settle()
    session = await ears.session(ANN)
    got = other.streams.open(session.key)
    await subscribe(ears, session)
    await ears.time.settle()
    other.subscriptions.notified("one", workload(other), UPDATED, updated(OWN))
    assert got == [(UPDATED, {"uri": SHOWN})]
    await unsubscribe(ears, session)
    assert channel(other).watched == set()
    following.cancel()


async def test_a_sessions_end_ends_its_subscriptions_here_and_everywhere(ears: Ears) -> None:
    session = await ears.session(ANN)
    got = ears.streams.open(session.key)
    await subscribe(ears, session)
    ears.subscriptions.end_session(session.key, ANN.key)
    await ears.time.settle()
    ears.subscriptions.notified("one", workload(ears), UPDATED, updated(OWN))
    assert (got, channel(ears).watched) == ([], set())
    assert await ears.state.scan("session/subs/") == []


async def test_a_session_may_subscribe_to_so_much_and_no_more(ears: Ears) -> None:
    session = await ears.session(ANN)
    for number in range(EACH):
        await subscribe(ears, session, uri=f"file://one__/{number}")
    await subscribe(ears, session, uri="file://one__/0")
    with pytest.raises(Overloaded):
        await subscribe(ears, session, uri="file://one__/more")
    large = await ears.session(BOB)
    for number in range(31):
        await subscribe(ears, large, BOB, uri=f"file://one__/{number}/" + "x" * 1000)
    with pytest.raises(Overloaded):
        await subscribe(ears, large, BOB, uri="file://one__/" + "x" * 1900)
    assert max(len(value) for _, value in await ears.state.scan("session/subs/")) <= 64 * 1024


async def test_changed_lists_are_told_to_the_sessions_of_that_endpoint_that_hear() -> None:
    ears = Ears(endpoints=[EndpointSpec(path, ("one",), rules=ROLES) for path in ("/mcp", "/other")])
    here, there = ears.streams.open("a"), ears.streams.open("b", "/other")
    for kind in (Kind.TOOL, Kind.PROMPT, Kind.RESOURCE, Kind.TEMPLATE):
        ears.subscriptions.changed("/mcp", kind)
    assert [method for method, _ in here] == [
        "notifications/tools/list_changed", "notifications/prompts/list_changed",
        "notifications/resources/list_changed", "notifications/resources/list_changed",
    ]  # fmt: skip
    assert there == []


async def test_a_workload_is_held_while_somebody_can_hear_it(ears: Ears) -> None:
    session = await ears.session(ANN)
    await subscribe(ears, session)
    assert not ears.subscriptions.held("one", "shared")
    ears.streams.open(session.key)
    assert ears.subscriptions.held("one", "shared")
    assert not ears.subscriptions.held("one", "other")
    ears.streams.shut(session.key)
    assert not ears.subscriptions.held("one", "shared")


async def test_a_workload_is_asked_for_with_what_its_key_says_was_offered(ears: Ears) -> None:
    ears = Ears(spec("one"))
    session = await ears.session(ANN, capabilities={"roots": {}, "elicitation": {}})
    await subscribe(ears, session)
    assert ears.fleet.offers == [session.offer]
    assert set(ears.fleet.pools["one"].workloads) == {ANN.key + session.offer.suffix}


async def test_closing_waits_for_nothing_that_hangs(ears: Ears) -> None:
    session = await ears.session(ANN)
    await subscribe(ears, session)
    ears.subscriptions.workload_ready(ears.fleet.start("one", "shared"))
    channel(ears).silent.clear()
    await ears.time.settle()
    await ears.subscriptions.close()
    assert channel(ears).asked == [({OWN}, set())]


async def test_that_a_list_of_ones_own_changed_is_told_to_its_owner_alone(ears: Ears) -> None:
    first, second, other = await ears.session(ANN), await ears.session(ANN), await ears.session(BOB)
    heard = {
        each.key: ears.streams.open(each.key, principal=each.principal) for each in (first, second, other)
    }
    anns, bobs = (ears.listen(who, toolsListChanged=True) for who in (ANN, BOB))
    await ears.time.settle()
    changed = ("notifications/tools/list_changed", {})
    ears.subscriptions.changed("/mcp", Kind.TOOL, ANN.key, first.key)
    assert heard == {first.key: [changed], second.key: [], other.key: []}
    assert (anns.told, bobs.told) == ([], [])
    ears.subscriptions.changed("/mcp", Kind.TOOL, ANN.key)
    assert heard == {first.key: [changed] * 2, second.key: [changed], other.key: []}
    assert (anns.told, bobs.told) == ([changed], [])
    ears.subscriptions.drain()
    await asyncio.gather(anns.task, bobs.task)
