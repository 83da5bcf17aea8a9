"""Where the disk takes no more: calls are refused, outcomes are kept until they can be written."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from journals import ALICE, KEY, begin, call, end, files, kinds, open_journal, records

from tidegate.audit.verify import verify
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RecordKind

Full = Callable[[int], AbstractContextManager[None]]


@contextmanager
def _full_at(size: int) -> Iterator[None]:
    """Let no file of this process grow over `size` bytes: the system itself cuts or refuses writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def full_at() -> Full:
    return _full_at


@pytest.mark.parametrize("more", [0, 1, 100, 400])
def test_half_a_record_is_taken_back_and_the_journal_goes_on(
    tmp_path: Path, full_at: Full, more: int
) -> None:
    journal = open_journal(tmp_path)
    call(journal)
    before = files(tmp_path)[0].read_bytes()
    with full_at(len(before) + more), pytest.raises(JournalUnavailable):
        begin(journal, "c2")
    assert files(tmp_path)[0].read_bytes() == before
    call(journal, "c3")
    journal.close()
    verdict = verify(tmp_path, KEY)
    assert verdict.ok, verdict.faults
    assert (verdict.intents, verdict.outcomes) == (2, 2)


def test_outcomes_that_could_not_be_written_come_first_when_they_can(tmp_path: Path, full_at: Full) -> None:
    journal = open_journal(tmp_path)
    waiting = [begin(journal, f"c{number}") for number in range(3)]
    with full_at(files(tmp_path)[0].stat().st_size + 50):
        for intent in waiting:
            end(journal, intent)
        with pytest.raises(JournalUnavailable):
            begin(journal, "refused")
    begin(journal, "next")
    assert [record["call"] for record in records(tmp_path)[1:]] == [
        "c0",
        "c1",
        "c2",
        "c0",
        "c1",
        "c2",
        "next",
    ]
    assert journal.open_intents == 1
    journal.close()
    assert verify(tmp_path, KEY).ok


def test_a_tick_writes_them_without_another_call(tmp_path: Path, full_at: Full) -> None:
    journal = open_journal(tmp_path)
    intent = begin(journal)
    with full_at(files(tmp_path)[0].stat().st_size):
        end(journal, intent)
        journal.tick()
        assert kinds(tmp_path)[-1] == "call.intent"
    journal.tick()
    assert kinds(tmp_path)[-1] == "call.outcome"
    journal.close()


def test_refusals_that_could_not_be_kept_are_counted(tmp_path: Path, full_at: Full) -> None:
    journal = open_journal(tmp_path)
    with full_at(files(tmp_path)[0].stat().st_size):
        for _ in range(3):
            journal.refused("denied", ALICE, {})
        journal.stranger("forbidden", {})
        with pytest.raises(JournalUnavailable):
            journal.event(RecordKind.GATEWAY, {})
        with pytest.raises(JournalUnavailable):
            journal.request(ALICE, {})
    journal.refused("denied", ALICE, {})
    journal.refused("denied", ALICE, {})
    journal.close()
    assert [record.get("unrecorded") for record in records(tmp_path) if record["kind"] == "refused"] == [
        4,
        None,
    ]


def test_a_new_file_that_cannot_be_had_does_not_stop_the_old_one(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_size=3000)
    for number in range(2, 60):
        # Whatever number comes next, its place is taken by something that is no file of the journal.
        (tmp_path / f"journal-w-{number:016d}.new").mkdir()
    for _ in range(20):
        call(journal)
    assert len(files(tmp_path)) == 1
    for path in tmp_path.glob("*.new"):
        path.rmdir()
    journal.close()
    assert verify(tmp_path, KEY).ok


def test_an_existing_file_is_never_written_over(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_size=3000)
    for number in range(2, 60):
        (tmp_path / f"journal-w-{number:016d}.jsonl").write_text("someone's\n")
    for _ in range(20):
        call(journal)
    journal.close()
    assert all(path.read_text() == "someone's\n" for path in files(tmp_path)[1:])
