"""What a stop concerns: every scope against every kind of target, and what happens where nobody can tell."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tidegate.access.stop_store import MOST, PREFIX, StopStore
from tidegate.access.stops import LATE, Following, Stops
from tidegate.domain.errors import StateError, StateRefused, Stopped
from tidegate.domain.principal import Principal
from tidegate.domain.stop import LONGEST_REASON, Stop, StopScope, mistake
from tidegate.domain.target import Kind, Target
from tidegate.extensions.state.memory import MemoryState
from tidegate.testing.loop_time import LoopTime

ANN = Principal("marine", "key", "ann", client="agent-7")
BOB = Principal("claims", "key", "bob")
EVERY_KIND = tuple(Kind)
PAY = {kind: Target("claims", kind, "pay") for kind in EVERY_KIND}
READ = {kind: Target("claims", kind, "read") for kind in EVERY_KIND}
OTHER = {kind: Target("vessels", kind, "pay") for kind in EVERY_KIND}


def stop(scope: StopScope, name: str = "", issuer: str = "", stop_id: str = "s1") -> Stop:
    return Stop(stop_id, scope, name, "leaks", "ops", 1.0, None, issuer)


def stopping(*stops: Stop) -> Stops:
    made = Stops()
    made.turn(stops)
    return made


def test_while_nothing_is_stopped_there_is_nothing_to_look_at() -> None:
    stops = Stops()
    assert not stops.any
    stops.admit(ANN, PAY[Kind.TOOL])
    assert stops.check(ANN) is None
    assert stops.check_server(ANN, "claims") is None


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize(
    ("one", "mine", "others"),
    [
        (stop(StopScope.ALL), True, True),
        (stop(StopScope.TENANT, "marine"), True, False),
        (stop(StopScope.PRINCIPAL, "ann"), True, False),
        (stop(StopScope.PRINCIPAL, ANN.key), True, False),
        (stop(StopScope.PRINCIPAL, "ann", "key"), True, False),
        (stop(StopScope.CLIENT, "agent-7"), True, False),
    ],
    ids=lambda each: each.words if isinstance(each, Stop) else "",
)
def test_a_stop_of_who_asks_concerns_every_kind_and_nobody_else(
    one: Stop, mine: bool, others: bool, kind: Kind
) -> None:
    stops = stopping(one)
    assert (stops.check(ANN, PAY[kind]) is one, stops.check(BOB, PAY[kind]) is one) == (mine, others)
    assert (stops.check(ANN) is one, stops.check(BOB) is one) == (mine, others)
    assert (stops.check_server(ANN, "x") is one, stops.check_server(BOB, "x") is one) == (mine, others)


@pytest.mark.parametrize(
    "one",
    [
        stop(StopScope.TENANT, "Marine"),
        stop(StopScope.TENANT, "mar"),
        stop(StopScope.PRINCIPAL, "Ann"),
        stop(StopScope.PRINCIPAL, "ann", "https://id.example"),
        stop(StopScope.PRINCIPAL, ANN.key, "https://id.example"),
        stop(StopScope.CLIENT, "agent-70"),
        stop(StopScope.SERVER, "Claims"),
        stop(StopScope.SERVER, "claim"),
        stop(StopScope.TOOL, "claims__PAY"),
        stop(StopScope.TOOL, "claims__pa"),
        stop(StopScope.TOOL, "clai*__pay"),
    ],
    ids=lambda each: each.words,
)
def test_names_that_are_only_alike_are_not_meant(one: Stop) -> None:
    assert stopping(one).check(ANN, PAY[Kind.TOOL]) is None


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_stop_of_a_server_concerns_all_that_is_its_own_whoever_asks(kind: Kind) -> None:
    one = stop(StopScope.SERVER, "claims")
    stops = stopping(one)
    for who, mine in itertools.product((ANN, BOB), (PAY[kind], READ[kind])):
        assert stops.check(who, mine) is one
    assert stops.check(ANN, OTHER[kind]) is None
    assert stops.check(ANN) is None
    assert stops.check_server(ANN, "claims") is one
    assert stops.check_server(ANN, "vessels") is None


@pytest.mark.parametrize("name", ["claims__pay", "claims__p*", "claims__[op]ay"])
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_stop_of_a_tool_concerns_the_tool_and_what_may_come_to_it(kind: Kind, name: str) -> None:
    one = stop(StopScope.TOOL, name)
    stops = stopping(one)
    assert (stops.check(BOB, PAY[kind]) is one) == (kind in (Kind.TOOL, Kind.EXTENSION))
    assert (stops.check(BOB, READ[kind]) is one) == (kind is Kind.EXTENSION)
    assert stops.check(BOB, OTHER[kind]) is None
    assert stops.check_server(BOB, "claims") is None


def test_of_several_stops_each_has_its_effect_and_the_wider_is_named() -> None:
    tool, mine = (
        stop(StopScope.TOOL, "claims__pay", stop_id="t"),
        stop(StopScope.PRINCIPAL, "ann", stop_id="p"),
    )
    again = stop(StopScope.PRINCIPAL, "ann", "key", stop_id="q")
    stops = stopping(tool, mine, again)
    assert stops.check(ANN, PAY[Kind.TOOL]) is mine
    assert stops.check(BOB, PAY[Kind.TOOL]) is tool
    stops.turn([tool, again])
    assert stops.check(ANN, READ[Kind.TOOL]) is again
    stops.turn([])
    assert not stops.any
    assert stops.check(ANN, PAY[Kind.TOOL]) is None


def test_who_is_refused_is_told_why_and_which_stop_and_not_by_whom_or_what_else_it_is_about() -> None:
    hidden = Stop("s9", StopScope.TOOL, "claims__secret_*", "leaks", "ops", 1.0, 99.0)
    with pytest.raises(Stopped) as refused:
        stopping(hidden).admit(ANN, Target("claims", Kind.TOOL, "secret_pay"))
    assert str(refused.value) == "this tool is stopped by an administrator: leaks (stop s9)"
    assert refused.value.data == {"stop": "s9", "until": 99.0}
    assert refused.value.target == Target("claims", Kind.TOOL, "secret_pay")
    with pytest.raises(Stopped, match="your calls are stopped"):
        stopping(stop(StopScope.PRINCIPAL, "ann")).admit(ANN)


def test_where_nobody_knows_what_is_stopped_everything_new_is_refused_and_nothing_is_ended() -> None:
    stops = Stops()
    stops.lose("disk on fire")
    assert stops.any
    with pytest.raises(StateRefused, match="disk on fire"):
        stops.admit(ANN, PAY[Kind.TOOL])
    assert stops.check(ANN, PAY[Kind.TOOL]) is None
    stops.turn([])
    assert not stops.any
    stops.admit(ANN, PAY[Kind.TOOL])


@pytest.mark.parametrize(
    ("scope", "name", "reason", "issuer"),
    [
        (StopScope.SERVER, "claims", "", ""),
        (StopScope.SERVER, "claims", " ", ""),
        (StopScope.SERVER, "claims", "x" * (LONGEST_REASON + 1), ""),
        (StopScope.SERVER, "claims", "a\nb", ""),
        (StopScope.SERVER, "", "leaks", ""),
        (StopScope.SERVER, "claims\x1b[2J", "leaks", ""),
        (StopScope.SERVER, "claims", "leaks", "key"),
        (StopScope.ALL, "claims", "leaks", ""),
        (StopScope.TOOL, "claims", "leaks", ""),
        (StopScope.TOOL, "claims__", "leaks", ""),
        (StopScope.TOOL, "__pay", "leaks", ""),
        (StopScope.PRINCIPAL, "x" * 513, "leaks", ""),
    ],
)
async def test_a_stop_that_is_not_said_as_it_should_be_is_none(
    store: StopStore, scope: StopScope, name: str, reason: str, issuer: str
) -> None:
    assert mistake(scope, name, reason, issuer) is not None
    with pytest.raises(ValueError, match=r"\w"):
        await store.add(scope, name, reason=reason, by="ops", issuer=issuer)
    assert await store.list() == []


class Store(MemoryState):
    """A state store that can be made to fail, or not to answer."""

    def __init__(self, time: LoopTime) -> None:
        super().__init__(clock=time)
        self.broken = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def scan(self, prefix: str) -> Sequence[tuple[str, bytes]]:
        await self.answers.wait()
        if self.broken:
            raise StateError("the disk is gone")
        return await super().scan(prefix)


@pytest.fixture
async def time() -> LoopTime:
    return LoopTime()


@pytest.fixture
async def state(time: LoopTime) -> Store:
    return Store(time)


@pytest.fixture
async def store(state: Store, time: LoopTime) -> StopStore:
    return stores(state, time)


def stores(state: MemoryState, time: LoopTime) -> StopStore:
    numbers = itertools.count(1)
    return StopStore(state, clock=time, new_id=lambda: f"s{next(numbers)}")


@asynccontextmanager
async def followed(state: MemoryState, time: LoopTime) -> AsyncIterator[Stops]:
    """Follow a store as a gateway does that was just started."""
    following = Following(stores(state, time), Stops())
    await following.read()
    task = asyncio.create_task(following.run())
    await time.settle()
    try:
        yield following.stops
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_stop_is_in_force_at_once_at_all_who_share_the_store_and_at_the_next_to_start(
    state: Store, store: StopStore, time: LoopTime
) -> None:
    async with followed(state, time) as one, followed(state, time) as two:
        told: list[tuple[list[str], list[str]]] = []
        two.when_changed.append(lambda new, gone: told.append(([s.id for s in new], [s.id for s in gone])))
        made = await store.add(StopScope.SERVER, "claims", reason="leaks", by="ops")
        await time.settle()
        assert one.check(ANN, PAY[Kind.TOOL]) == two.check(ANN, PAY[Kind.TOOL]) == made
        async with followed(state, time) as late:
            assert late.check(ANN, PAY[Kind.TOOL]) == made
        assert await store.lift(made.id)
        await time.settle()
        assert not one.any
        assert not two.any
        assert told == [(["s1"], []), ([], ["s1"])]
        assert not await store.lift(made.id)


async def test_a_stop_for_a_time_ends_by_itself_within_a_second(
    state: Store, store: StopStore, time: LoopTime
) -> None:
    async with followed(state, time) as stops:
        await store.add(StopScope.ALL, "", reason="drill", by="ops", seconds=60.0)
        await time.advance(59)
        assert stops.check(BOB) is not None
        await time.advance(2.5)
        assert not stops.any
        assert await state.scan(PREFIX) == []


async def test_a_store_that_cannot_be_read_refuses_all_that_is_new_until_it_can(
    state: Store, store: StopStore, time: LoopTime
) -> None:
    async with followed(state, time) as stops:
        state.broken = True
        await time.advance(1.5)
        with pytest.raises(StateRefused, match="the disk is gone"):
            stops.admit(ANN)
        state.broken = False
        await time.advance(0.5)
        stops.admit(ANN)
        state.answers.clear()
        await time.advance(LATE + 2)
        with pytest.raises(StateRefused, match="has not answered"):
            stops.admit(ANN)
        state.answers.set()
        await time.advance(0.5)
        stops.admit(ANN)


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"v": 1, "scope": "planet", "name": "", "reason": "", "by": "", "since": 0}',
                                   b'{"v": 2, "scope": "all", "name": "", "reason": "", "by": "", "since": 0}'])  # fmt: skip
async def test_a_stop_that_cannot_be_understood_stops_everything_until_it_is_removed(
    state: Store, store: StopStore, time: LoopTime, value: bytes
) -> None:
    async with followed(state, time) as stops:
        await state.put(f"{PREFIX}odd", value)
        await time.settle()
        with pytest.raises(StateRefused, match="odd"):
            stops.admit(ANN)
        assert list(await store.ids()) == ["odd"]
        assert await store.lift("odd")
        await time.settle()
        stops.admit(ANN)


async def test_there_are_only_so_many_stops_and_an_id_is_never_given_twice(
    state: Store, time: LoopTime
) -> None:
    ids = iter(["a", "a", *(f"n{number}" for number in range(MOST + 1))])
    store = StopStore(state, clock=time, new_id=lambda: next(ids))
    for number in range(MOST):
        await store.add(StopScope.PRINCIPAL, f"p{number}", reason="r", by="ops")
    assert len({each.id for each in await store.list()}) == MOST
    with pytest.raises(StateError, match=f"{MOST} stops"):
        await store.add(StopScope.SERVER, "claims", reason="r", by="ops")
    assert (await store.add(StopScope.ALL, "", reason="r", by="ops")).id not in ("a", "")
    assert not await store.lift("../key/x")
