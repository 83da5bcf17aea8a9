"""What resources were is kept for as long as it holds, and given to nobody it is not for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tidegate.domain.principal import Principal
from tidegate.gateway.cache import Place, ReadCache
from tidegate.protocol.codec import decode_object
from tidegate.testing.clock import VirtualClock

ANN, BOB = Principal("t", "key", "ann"), Principal("t", "key", "bob")
UPDATED = "notifications/resources/updated"


def place(who: Principal = ANN, *, server: str = "one", sharing: str = "shared", uri: str = "a:b") -> Place:
    """Say what is read, by whom."""
    return Place(server, sharing, uri, who)


def result(ttl: object = 5000, scope: str = "public", text: str = "x") -> Raw:
    """Give what a server answered."""
    whole = {"resultType": "complete", "contents": [{"text": text}], "ttlMs": ttl, "cacheScope": scope}
    return Raw(json.dumps(whole).encode())


def told(data: bytes | None) -> Any:
    """Give the text of what was found."""
    return None if data is None else json.loads(data)["contents"][0]["text"]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def cache(clock: VirtualClock) -> ReadCache:
    return ReadCache(clock)


def test_a_public_result_is_for_all_and_a_private_one_for_whom_it_was_made(cache: ReadCache) -> None:
    cache.keep(place(uri="a:public"), result(), 0)
    cache.keep(place(uri="a:private"), result(scope="private"), 0)
    assert told(cache.lookup(place(BOB, uri="a:public"))) == "x"
    assert cache.lookup(place(BOB, uri="a:private")) is None
    assert told(cache.lookup(place(ANN, uri="a:private"))) == "x"


def test_a_scope_that_is_missing_or_odd_is_private(cache: ReadCache) -> None:
    for number, scope in enumerate(("", "Public", "shared")):
        cache.keep(place(uri=f"a:{number}"), result(scope=scope), 0)
        assert told(cache.lookup(place(uri=f"a:{number}"))) == "x"
        assert cache.lookup(place(BOB, uri=f"a:{number}")) is None


def test_what_a_principals_own_workload_calls_public_is_given_to_nobody_else(cache: ReadCache) -> None:
    cache.keep(place(ANN, sharing=ANN.key), result(text="ann's"), 0)
    assert told(cache.lookup(place(ANN, sharing=ANN.key))) == "ann's"
    assert cache.lookup(place(BOB, sharing=BOB.key)) is None
    assert cache.lookup(place(BOB, sharing=ANN.key)) is None


def test_it_holds_until_its_time_is_over_and_says_what_is_left(cache: ReadCache, clock: VirtualClock) -> None:
    cache.keep(place(), result(5000), 0)
    clock.advance(3)
    found = cache.lookup(place())
    assert found is not None
    assert json.loads(found)["ttlMs"] == 2000
    clock.advance(2)
    assert cache.lookup(place()) is None
    assert (len(cache), cache.size) == (0, 0)


@pytest.mark.parametrize("ttl", [0, -1, "5000", None, 1.5])
def test_what_does_not_hold_is_not_kept(cache: ReadCache, ttl: object) -> None:
    cache.keep(place(), result(ttl), 0)
    assert len(cache) == 0


@pytest.mark.parametrize(
    "data", [b"[]", b"", b'{"resultType":"input_required","ttlMs":5000}', b'{"contents":[]}']
)
def test_what_is_no_complete_result_is_not_kept(cache: ReadCache, data: bytes) -> None:
    cache.keep(place(), Raw(data), 0)
    assert len(cache) == 0


def test_another_uri_or_server_is_another_thing(cache: ReadCache) -> None:
    cache.keep(place(), result(), 0)
    assert cache.lookup(place(uri="a:b2")) is None
    assert cache.lookup(place(server="two")) is None


@pytest.mark.parametrize(
    ("uri", "gone"),
    [("a://x/y", True), ("a://x", True), ("a://x/y/z", True), ("a://z", False), ("b://x", False)],
)
def test_a_notice_makes_a_resource_and_what_is_above_and_below_it_stale(
    cache: ReadCache, uri: str, gone: bool
) -> None:
    cache.keep(place(uri="a://x/y"), result(), 0)
    cache.notified("one", UPDATED, decode_object(json.dumps({"uri": uri}).encode()))
    assert (cache.lookup(place(uri="a://x/y")) is None) is gone


def test_a_changed_list_and_a_restart_make_all_of_that_server_stale(cache: ReadCache) -> None:
    for forget in (
        lambda: cache.notified("one", "notifications/resources/list_changed", {}),
        lambda: cache.forget("one"),
        lambda: cache.notified("one", UPDATED, {}),
    ):
        cache.keep(place(), result(), cache.age("one"))
        cache.keep(place(server="two"), result(), 0)
        forget()
        assert cache.lookup(place()) is None
        assert cache.lookup(place(server="two")) is not None


def test_other_notices_change_nothing(cache: ReadCache) -> None:
    cache.keep(place(), result(), 0)
    cache.notified("one", "notifications/tools/list_changed", {})
    assert cache.lookup(place()) is not None


def test_what_was_read_while_something_changed_is_not_kept(cache: ReadCache) -> None:
    before = cache.age("one")
    cache.notified("one", UPDATED, decode_object(b'{"uri":"a:b"}'))
    cache.keep(place(), result(), before)
    assert len(cache) == 0


def test_it_is_bounded_in_number_and_the_longest_unused_go_first(clock: VirtualClock) -> None:
    cache = ReadCache(clock, entries=2)
    for uri in ("a:1", "a:2"):
        cache.keep(place(uri=uri), result(), 0)
    cache.lookup(place(uri="a:1"))
    cache.keep(place(uri="a:3"), result(), 0)
    assert [cache.lookup(place(uri=uri)) is not None for uri in ("a:1", "a:2", "a:3")] == [True, False, True]


def test_it_is_bounded_in_size_and_one_result_does_not_drive_out_all(clock: VirtualClock) -> None:
    each = len(result())
    cache = ReadCache(clock, size=each * 2)
    for number in range(5):
        cache.keep(place(uri=f"a:{number}"), result(), 0)
        assert cache.size <= each * 2
    assert len(cache) == 2
    cache.keep(place(uri="a:large"), result(text="x" * each * 3), 0)
    assert cache.lookup(place(uri="a:large")) is None
    assert len(cache) == 2


def test_a_newer_result_takes_the_place_of_the_one_before(cache: ReadCache) -> None:
    cache.keep(place(), result(text="old"), 0)
    cache.keep(place(), result(text="new"), 0)
    assert told(cache.lookup(place())) == "new"
    assert (len(cache), cache.size) == (1, len(result(text="new")))
