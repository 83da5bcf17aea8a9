"""What the journal has of a call is found by its id, and nothing that only looks like it."""

from pathlib import Path

import pytest
from journals import ALICE, begin, end, open_journal

from tidegate.audit.find import find
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import Outcome


def test_a_refusal_is_found_with_what_was_read_for_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for number in range(50):
        journal.refused("invalid_params", ALICE, {"call": f"c-{number}", "reads": {"principal.limit": "5"}})
    found = find(tmp_path, "c-31")
    assert found is not None
    assert found.decisive is not None
    assert found.decisive["reason"] == "invalid_params"
    assert found.decisive["data"] == {"call": "c-31", "reads": {"principal.limit": "5"}}
    journal.close()


def test_a_call_that_went_out_is_found_with_what_came_of_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    end(journal, begin(journal, "c1"), Outcome.TOOL_ERROR)
    begin(journal, "c10")
    found = find(tmp_path, "c1")
    assert found is not None
    assert found.decisive is not None
    assert (found.decisive["kind"], found.decisive["call"], found.outcome) == (
        "call.intent",
        "c1",
        "tool_error",
    )
    journal.close()


def test_a_call_that_was_refused_after_its_intent_is_found_as_refused(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    intent = begin(journal, "c1")
    journal.refused("stopped", ALICE, {"call": "c1"})
    end(journal, intent, Outcome.CANCELLED)
    found = find(tmp_path, "c1")
    assert found is not None
    assert found.decisive is not None
    assert (found.decisive["kind"], found.outcome, len(found.records)) == ("refused", "cancelled", 3)
    journal.close()


@pytest.mark.parametrize("call", ["c2", "", "c", "c1 ", 'c1"', "../c1", "x" * 65, "c.*"])
def test_what_is_not_there_or_no_id_is_not_found(tmp_path: Path, call: str) -> None:
    journal = open_journal(tmp_path)
    journal.refused("denied", ALICE, {"call": "c1", "name": '"call":"c2"', "message": '{"call":"c2"}'})
    assert find(tmp_path, call) is None
    assert find(tmp_path / "none", "c1") is None
    journal.close()


def test_records_that_stand_across_blocks_and_in_older_files_are_found(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_size=1_500_000)
    for number in range(6000):
        journal.refused("denied", ALICE, {"call": f"c-{number}", "message": "x" * 190})
    journal.close()
    assert len(list(tmp_path.glob("*.jsonl"))) > 1
    newest = max(tmp_path.glob("*.jsonl"), key=lambda each: each.name)
    assert b'"call":"c-0"' not in newest.read_bytes()
    for number in (0, 1, 57, *range(1900, 2300, 40), 5998, 5999):
        assert find(tmp_path, f"c-{number}") is not None, number
    assert find(tmp_path, "c-0", most=10) is None, "only the newest file is looked at"


def test_a_search_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(JournalUnavailable, match="too large"):
        find(tmp_path, "c1", lambda: True)
    journal.close()


def test_a_damaged_line_is_passed_over(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.refused("denied", ALICE, {"call": "c1"})
    journal.close()
    (file,) = tmp_path.glob("*.jsonl")
    file.write_bytes(b'{"call":"c1" broken\n\xff\xfe"call":"c1"\n' + file.read_bytes())
    found = find(tmp_path, "c1")
    assert found is not None
    assert len(found.records) == 1
