"""What clients offer servers, whom a server may ask, and workloads that one holder has at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import KNOWN, Setting, said, spec
from tidegate.channels.channel import Outbound, Reply
from tidegate.domain.errors import Overloaded, ServerUnavailable
from tidegate.domain.server import Sharing
from tidegate.fleet.kept import Kept
from tidegate.fleet.pool import Lease
from tidegate.fleet.turns import TURN
from tidegate.protocol.capabilities import Offer
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.stream import FreeIntent

A = "a" * 32
FORM, ROOTS = Offer.FORM, Offer.ROOTS


class Client:
    """Somebody who may be asked, and says what roots it has."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self.asked: list[str] = []

    def ask(self, method: str, params: object, answer: Any) -> bool:
        self.asked.append(method)
        answer(Reply(Raw(b'{"roots":[]}'), None))
        return True


async def lease(setting: Setting, client: Client, offer: Offer = FORM, timeout: float = 30.0) -> Lease:
    sharing = A + offer.suffix
    found = setting.fleet.lease_now("one", sharing, None, client.holder)
    return found or await setting.fleet.lease("one", sharing, None, timeout, client.holder, offer, client.ask)


def begin(lease: Lease, client: Client, tool: str = "waits") -> asyncio.Task[Reply]:
    """Call a tool on a place; `waits` does until it is released."""
    params = {"name": Raw(f'"{tool}"'.encode()), "arguments": Raw(b"{}")}
    outbound = Outbound("tools/call", params, holder=client.holder, asked=client.ask)
    return asyncio.ensure_future(lease.channel.call(FreeIntent(), outbound))


async def contended(setting: Setting, time: LoopTime) -> None:
    """Have two holders' calls meet and the server ask."""
    one, two = Client("h1"), Client("h2")
    with await lease(setting, one) as first, await lease(setting, two) as second:
        calls = [begin(first, one), begin(second, two)]
        await time.settle()
        setting.servers["one"].ask(1, "roots/list")
        await time.settle()
        setting.servers["one"].release.set()
        await asyncio.gather(*calls)
        setting.servers["one"].release.clear()
    assert one.asked == two.asked == []


async def test_those_who_offer_different_things_have_workloads_of_their_own(fleet: Open) -> None:
    setting = await fleet(spec("one"))
    for offer in (Offer.NONE, FORM, FORM | ROOTS):
        with await lease(setting, Client("h"), offer) as place:
            assert place.workload.identity.key.profile == offer.label
            await said(place, "echo", text="x")
    opened = [each["params"] for each in setting.servers["one"].heard if each.get("method") == "initialize"]
    assert [each["capabilities"] for each in opened] == [
        {}, {"elicitation": {"form": {}}}, {"elicitation": {"form": {}}, "roots": {"listChanged": True}},
    ]  # fmt: skip
    assert list(setting.fleet.pools["one"].workloads) == [A, f"{A}+form", f"{A}+form.roots"]


async def test_a_workload_is_adopted_with_what_it_was_offered_and_brought_up_again_with_it(
    fleet: Open, time: LoopTime
) -> None:
    declared = spec("one", stateless=True)
    setting = await fleet(declared, begin=False)
    left = await setting.leave_running(declared, f"{A}+form", offer="form")
    kept = Kept("one", f"{A}+form", True, KNOWN, declared.digest(), "form")
    await setting.state.put(f"workload/{left}", msgspec.json.encode(kept))
    await setting.begin()
    with await lease(setting, Client("h"), FORM) as place:
        assert (place.workload.identity.id, place.workload.offer) == (left, "form")
    setting.world.kill(left)
    await time.advance(5)
    with await lease(setting, Client("h"), FORM) as place:
        assert place.workload.identity.id != left
    (opened,) = [each for each in setting.servers["one"].heard if each.get("method") == "initialize"]
    assert opened["params"]["capabilities"] == {"elicitation": {"form": {}}}


async def test_a_workload_that_was_offered_what_nobody_knows_is_replaced(fleet: Open, time: LoopTime) -> None:
    declared = spec("one", stateless=True)
    setting = await fleet(declared, begin=False)
    left = await setting.leave_running(declared, f"{A}+all", offer="all")
    kept = Kept("one", f"{A}+all", True, KNOWN, declared.digest(), "all")
    await setting.state.put(f"workload/{left}", msgspec.json.encode(kept))
    await setting.begin()
    await time.settle()
    assert left not in setting.world.running
    assert await setting.text("one", "echo", text="x") == "x"


async def test_the_end_of_a_session_ends_its_workloads_whatever_it_offered(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one", sharing=Sharing.SESSION))
    for key in (f"{A}.s1", f"{A}.s2"):
        (await setting.fleet.lease("one", f"{key}+form", None, 30.0, "h", FORM)).release()
    setting.fleet.end_session(f"{A}.s1")
    assert set(setting.fleet.pools["one"].workloads) == {"unclaimed", f"{A}.s2+form"}


async def test_what_a_server_asks_as_soon_as_it_is_up_reaches_whoever_waits_for_it(fleet: Open) -> None:
    setting = await fleet(spec("one"))
    setting.servers["one"].asks_first = "roots/list"
    client = Client("h")
    with await lease(setting, client, ROOTS) as place:
        assert client.asked == ["roots/list"]
        assert await said(place, "echo", text="x") == "x"
    (answer,) = setting.servers["one"].answers
    assert answer["result"] == {"roots": []}
    assert place.workload.callers == []


async def test_two_who_wait_for_the_same_workload_are_not_asked_what_may_be_the_others(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"))
    setting.servers["one"].asks_first = "roots/list"
    one, two = Client("h1"), Client("h2")
    tasks = [asyncio.create_task(lease(setting, client, ROOTS)) for client in (one, two)]
    await time.settle()
    assert one.asked == two.asked == []
    assert setting.fleet.pools["one"].exclusive
    for task in tasks:  # from then on one after the other
        (await task).release()


async def test_a_server_whose_question_could_be_anothers_has_one_holder_at_a_time_from_then_on(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"))
    await contended(setting, time)
    assert setting.fleet.pools["one"].exclusive
    assert setting.records.of("one").count("contended") == 1
    one, two = Client("h1"), Client("h2")
    first = await lease(setting, one)
    call = begin(first, one)
    waiting = asyncio.create_task(lease(setting, two))
    await time.settle()
    assert setting.fleet.lease_now("one", f"{A}+form", None, "h2") is None
    with await lease(setting, one):  # whose turn it is may have several
        setting.servers["one"].ask(2, "roots/list")
        await time.settle()
    assert one.asked == ["roots/list"]
    assert not waiting.done()
    setting.servers["one"].release.set()
    await call
    first.release()
    with await waiting as second:
        await begin(second, two, "echo")
    assert two.asked == []


async def test_turns_are_given_in_order_and_nobody_keeps_theirs_for_ever(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"))
    await contended(setting, time)
    clients = [Client(f"h{n}") for n in range(4)]
    order: list[str] = []
    held = await lease(setting, clients[0])

    async def take(client: Client) -> None:
        with await lease(setting, client):
            order.append(client.holder)
            await asyncio.sleep(0.01)

    tasks = []
    for client in clients[1:]:
        tasks.append(asyncio.create_task(take(client)))
        await time.settle()
    more = await lease(setting, clients[0])
    more.release()
    await time.advance(TURN + 1)
    late = asyncio.create_task(take(clients[0]))
    await time.settle()
    assert order == []
    assert not late.done()
    held.release()
    await time.advance(1)
    await asyncio.gather(*tasks, late)
    assert order == ["h1", "h2", "h3", "h0"]


async def test_a_wait_for_a_turn_is_bounded_in_time_and_number_and_leaves_nothing(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"))
    await contended(setting, time)
    held = await lease(setting, Client("h1"))
    short = asyncio.create_task(lease(setting, Client("h2"), timeout=5))
    await time.settle()
    await time.advance(6)
    with pytest.raises(ServerUnavailable, match="one session at a time"):
        await short
    tasks = [asyncio.create_task(lease(setting, Client(f"x{n}"))) for n in range(65)]
    await time.settle()
    refused = [task for task in tasks if task.done()]
    assert len(refused) == 1
    with pytest.raises(Overloaded):
        await refused[0]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    held.release()
    (await lease(setting, Client("h3"))).release()


async def test_calls_under_way_when_turns_begin_are_let_end_first(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"))
    one, two = Client("h1"), Client("h2")
    first, second = await lease(setting, one), await lease(setting, two)
    setting.fleet.pools["one"].make_exclusive()
    waiting = asyncio.create_task(lease(setting, one))
    await time.settle()
    first.release()
    await time.settle()
    assert not waiting.done()
    second.release()
    (await waiting).release()


async def test_what_the_gateway_itself_does_takes_no_turn_and_keeps_nobody_waiting(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"))
    sharing = f"{A}+form"
    before = await setting.fleet.lease("one", sharing, None, 30.0, offer=FORM)
    await contended(setting, time)
    one, two = Client("h1"), Client("h2")
    held = await lease(setting, one)
    own = setting.fleet.lease_now("one", sharing, None)
    assert own is not None
    held.release()
    (await lease(setting, two)).release()
    own.release()
    before.release()
    (await lease(setting, one)).release()
    assert before.workload.in_flight == 0


async def test_a_workload_that_dies_in_a_turn_is_waited_for_by_the_next(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one", stateless=True))
    await contended(setting, time)
    one, two = Client("h1"), Client("h2")
    held = await lease(setting, one)
    waiting = asyncio.create_task(lease(setting, two))
    await time.settle()
    setting.world.kill(held.workload.identity.id)
    await time.settle()
    held.release()
    with await waiting as place:
        assert await said(place, "echo", text="x") == "x"


async def test_the_next_gateway_remembers_era_and_turns_of_the_same_server_only(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one", stateless=True))
    await contended(setting, time)
    await time.settle()
    again = await fleet(spec("one", stateless=True), state=setting.state)
    assert again.fleet.pools["one"].exclusive
    assert again.fleet.pools["one"].era == "legacy"
    with await lease(again, Client("h1")):
        assert again.fleet.lease_now("one", f"{A}+form", None, "h2") is None
    other = await fleet(spec("one", env={"X": "1"}), state=setting.state)
    assert not other.fleet.pools["one"].exclusive


async def test_the_era_is_waited_for_and_a_server_that_cannot_say_is_unavailable(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"), spec("bad"), begin=False)
    setting.servers["bad"].exits = 3
    asking = [asyncio.create_task(setting.fleet.era(name, 20.0)) for name in ("one", "bad", "none")]
    await setting.begin()
    await time.until(lambda: all(each.done() for each in asking))
    assert asking[0].result() == "legacy"
    for each in asking[1:]:
        assert isinstance(each.exception(), ServerUnavailable)
    assert setting.fleet.pools["one"].era == "legacy"


async def test_the_fleet_says_which_workload_became_ready_and_which_one_speaks(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"))
    (await lease(setting, Client("h"), FORM)).release()
    assert set(setting.heard.workloads) == setting.world.running
