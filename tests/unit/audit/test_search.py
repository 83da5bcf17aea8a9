"""The journal is searched newest first, a page at a time, by what of it somebody may see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tidegate.audit import search as searching
from tidegate.audit.journal import Journal
from tidegate.audit.search import Page, Wanted, search
from tidegate.domain.principal import Principal
from tidegate.domain.record import Outcome, RecordKind
from tidegate.domain.target import Decision, Kind, Target

ANN, BOB = Principal("marine", "key", "ann"), Principal("motor", "key", "bob")


class Written:
    """A journal whose clock goes on by a second with each record."""

    def __init__(
        self, place: Path, segment_size: int = 1 << 20, writer: str = "w", start: float = 0.0
    ) -> None:
        self.place = place
        self.now = start
        self.journal = Journal.open(
            place, key=bytes(32), writer=writer, segment_size=segment_size, clock=lambda: self.now
        )

    def call(self, who: Principal, tool: str, call: str) -> None:
        self.now += 1
        target = Target(tool.partition("__")[0], Kind.TOOL, tool.partition("__")[2])
        intent = self.journal.intent(
            call_id=call, principal=who, endpoint="/mcp", target=target, shown=tool, decision=Decision(True, "r"),
            workload="", arguments=b"{}", client="", revision="",
        )  # fmt: skip
        self.journal.outcome(intent, Outcome.OK, size=1, duration_us=1)

    def refuse(self, who: Principal, tool: str, call: str, reason: str = "denied", **more: object) -> None:
        self.now += 1
        self.journal.refused(reason, who, {"call": call, "name": tool, **more})


@pytest.fixture
def written(tmp_path: Path) -> Written:
    made = Written(tmp_path)
    made.call(ANN, "claims__pay", "a-1")
    made.call(BOB, "cars__sell", "b-1")
    made.refuse(ANN, "claims__drop", "a-2")
    made.refuse(
        BOB, "cars__drop", "b-2", "stopped", target={"server": "cars", "kind": "tool", "name": "scrap"}
    )
    return made


def calls(page: Page) -> list[Any]:
    records = [json.loads(line) for line in page.lines]
    return [each.get("call") or each["data"]["call"] for each in records if each["kind"] != "segment"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), ["b-2", "a-2", "b-1", "b-1", "a-1", "a-1"]),
        (Wanted(principal="ann"), ["a-2", "a-1"]),
        (Wanted(principal=BOB.key), ["b-2", "b-1"]),
        (Wanted(principal="an"), []),
        (Wanted(tool="claims__pay"), ["a-1"]),
        (Wanted(tool="cars__*"), ["b-2", "b-1"]),
        (Wanted(tool="cars__scrap"), ["b-2"]),
        (Wanted(server="cars"), ["b-2", "b-1"]),
        (Wanted(decision="allowed"), ["b-1", "a-1"]),
        (Wanted(decision="refused"), ["b-2", "a-2"]),
        (Wanted(reason="stopped"), ["b-2"]),
        (Wanted(kind="call.outcome"), ["b-1", "a-1"]),
        (Wanted(call="a-1"), ["a-1", "a-1"]),
        (Wanted(since=3.0), ["b-2", "a-2"]),
        (Wanted(until=2.0), ["a-1", "a-1"]),
        (Wanted(since=2.0, until=3.0), ["b-1", "b-1"]),
        (Wanted(tenant="marine"), ["a-2", "a-1", "a-1"]),
        (Wanted(tenant="marine", principal="bob"), []),
        (Wanted(tenant="elsewhere"), []),
    ],
)  # fmt: skip
def test_records_are_found_by_what_is_asked_of_them(
    written: Written, wanted: Wanted, found: list[str]
) -> None:
    assert calls(search(written.place, wanted)) == found


@pytest.mark.parametrize("segment_size", [4096, 1 << 20])
@pytest.mark.parametrize("block", [64, 1000, 1 << 16])
def test_pages_together_are_the_whole_journal_while_it_goes_on_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segment_size: int, block: int
) -> None:
    monkeypatch.setattr(searching, "_BLOCK", block)
    written = Written(tmp_path, segment_size)
    for number in range(60):
        written.refuse(ANN, "claims__drop", f"c-{number}")
    found: list[str] = []
    place: str | None = None
    for pages in range(100):
        page = search(tmp_path, Wanted(decision="refused"), 7, place)
        found += calls(page)
        written.refuse(BOB, "cars__drop", f"later-{pages}")
        place = page.next
        if place is None:
            break
    assert found == [f"c-{number}" for number in reversed(range(60))]


def test_files_of_several_gateways_are_searched_by_when_they_began(tmp_path: Path) -> None:
    first, second = Written(tmp_path, writer="b"), Written(tmp_path, writer="a", start=100.0)
    first.refuse(ANN, "x", "early")
    second.refuse(ANN, "x", "late")
    assert calls(search(tmp_path, Wanted(decision="refused"))) == ["late", "early"]
    one = search(tmp_path, Wanted(decision="refused"), 1)
    assert calls(search(tmp_path, Wanted(decision="refused"), 1, one.next)) == ["early"]


def test_a_search_that_takes_too_long_says_where_it_goes_on(written: Written) -> None:
    page = search(written.place, Wanted(), expired=lambda: True)
    assert (page.lines, page.next is None) == ([], False)
    assert len(calls(search(written.place, Wanted(), place=page.next))) == 6


def test_a_line_that_is_half_written_or_none_is_passed_over(written: Written) -> None:
    (file,) = written.place.glob("*.jsonl")
    with file.open("ab") as end:
        end.write(b"no record\n" + b'{"v":1,"time":1,"kind":"refused"')
    assert len(calls(search(written.place, Wanted()))) == 6


@pytest.mark.parametrize("place", ["", "x", "w.1", "w.1.x", "other.1.5", "../w.1.1", "w.1.1.1"])
def test_a_place_that_no_page_gave_is_refused(written: Written, place: str) -> None:
    with pytest.raises(ValueError, match="place"):
        search(written.place, Wanted(), place=place)


def test_what_is_left_out_for_a_tenant_cannot_be_found_by_it_either(written: Written) -> None:
    hidden = {"target": {"server": "cars", "name": "sell"}, "rule": "tenants.motor"}
    written.refuse(ANN, "shown", "c", "invalid_params", **hidden)
    whole = search(written.place, Wanted(server="cars", principal="ann"))
    assert calls(whole) == ["c"]
    for wanted in (Wanted(server="cars", tenant="marine"), Wanted(tool="cars__sell", tenant="marine")):
        assert calls(search(written.place, wanted)) == []
    (line,) = search(written.place, Wanted(reason="invalid_params", tenant="marine")).lines
    assert b"cars" not in line
    assert b"hash" not in line


def test_records_of_a_tenants_servers_are_its_own(written: Written) -> None:
    written.journal.event(RecordKind.WORKLOAD, {"event": "started", "server": "claims", "call": "w"})
    assert calls(search(written.place, Wanted(kind="workload", tenant="marine", servers=("claims",)))) == [
        "w"
    ]
    assert calls(search(written.place, Wanted(kind="workload", tenant="motor", servers=("cars",)))) == []
