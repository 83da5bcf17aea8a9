"""Who wants to hear of what: a table that loses nobody and keeps nobody."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tidegate.gateway.handles import Handle
from tidegate.gateway.interests import Hearer, Interests

PLACE, OTHER = ("one", "shared"), ("two", "shared")


def hearer(name: str) -> Hearer:
    """Give somebody."""
    return cast("Any", name)


ANN, BOB = hearer("ann"), hearer("bob")


def handle(task: str, place: tuple[str, str] = PLACE) -> Handle:
    return Handle(True, *place, "tg-1", "slow", task)


def test_what_anybody_wants_is_wanted_once() -> None:
    table = Interests()
    table.add_uri(ANN, PLACE, "a:b", "a:one__b")
    table.add_uri(BOB, PLACE, "a:b", "a:b")
    table.add_uri(BOB, OTHER, "c:d", "c:d")
    table.add_task(ANN, handle("t"), "<t>")
    assert (table.uris(PLACE), table.uris(OTHER), table.tasks(PLACE)) == ({"a:b"}, {"c:d"}, {"t"})
    assert table.places(BOB) == {PLACE, OTHER}


def test_each_hears_by_the_name_they_know() -> None:
    table = Interests()
    table.add_uri(ANN, PLACE, "a:b", "a:one__b")
    table.add_uri(BOB, PLACE, "a:b", "a:b")
    assert dict(table.of_uri(PLACE, "a:b")) == {ANN: "a:one__b", BOB: "a:b"}
    assert table.of_uri(OTHER, "a:b") == []


@pytest.mark.parametrize(
    ("wanted", "told", "heard"),
    [
        ("file:///a", "file:///a/b", True),
        ("file:///a/", "file:///a/b/c", True),
        ("file:///a/b", "file:///a/b#part", True),
        ("db://x", "db://x?row=1", True),
        ("file:///a", "file:///ab", False),
        ("file:///a/b", "file:///a", False),
        ("file://", "file:///a", True),
        ("urn:a", "urn:a/b", True),
        ("urn:", "urn:a", False),
    ],
)
def test_a_part_of_what_is_wanted_is_heard_of_too(wanted: str, told: str, heard: bool) -> None:
    table = Interests()
    table.add_uri(ANN, PLACE, wanted, wanted)
    assert table.of_uri(PLACE, told) == ([(ANN, None)] if heard else [])


def test_who_wants_the_part_and_the_whole_hears_once_by_its_own_name() -> None:
    table = Interests()
    table.add_uri(ANN, PLACE, "file:///a", "shown a")
    table.add_uri(ANN, PLACE, "file:///a/b", "shown b")
    assert table.of_uri(PLACE, "file:///a/b") == [(ANN, "shown b")]


def test_a_very_long_uri_is_looked_at_in_bounded_time() -> None:
    table = Interests()
    table.add_uri(ANN, PLACE, "file:///a", "file:///a")
    assert table.of_uri(PLACE, "file:///" + "x/" * 100_000) == []


def test_letting_go_of_one_thing_leaves_the_others() -> None:
    table = Interests()
    table.add_uri(ANN, PLACE, "a:b", "a:b")
    table.add_uri(ANN, PLACE, "a:c", "a:c")
    table.add_uri(BOB, PLACE, "a:b", "a:b")
    table.drop_uri(ANN, PLACE, "a:b")
    table.drop_uri(ANN, PLACE, "a:b")
    assert table.of_uri(PLACE, "a:b") == [(BOB, "a:b")]
    assert table.uris(PLACE) == {"a:b", "a:c"}


def test_letting_go_of_all_leaves_nothing_behind() -> None:
    table = Interests()
    table.add_uri(ANN, PLACE, "a:b", "a:b")
    table.add_uri(ANN, OTHER, "c:d", "c:d")
    table.add_task(ANN, handle("t"), "<t>")
    assert table.drop(ANN) == {PLACE, OTHER}
    assert table.drop(ANN) == frozenset()
    assert not any(vars(table).values())


def test_a_task_is_heard_of_by_the_handle_it_is_known_by() -> None:
    table = Interests()
    table.add_task(ANN, handle("t"), "<t>")
    assert table.of_task(PLACE, "t") == [(ANN, handle("t"), "<t>")]
    assert table.of_task(OTHER, "t") == []
    table.drop_task(ANN, handle("t"))
    assert table.of_task(PLACE, "t") == []


def test_what_somebody_wants_can_be_looked_over() -> None:
    table = Interests()
    table.add_uri(ANN, PLACE, "a:b", "a:one__b")
    table.add_task(ANN, handle("t"), "<t>")
    assert table.topics(ANN) == ([(PLACE, "a:b", "a:one__b")], [handle("t")])
    assert table.topics(BOB) == ([], [])
    assert list(table.hearers(PLACE)) == [ANN, ANN]
