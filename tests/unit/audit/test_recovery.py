"""What a crash leaves is set aside, closed and said, and the chain goes on."""

from pathlib import Path

import pytest
from journals import KEY, begin, call, end, files, kinds, open_journal, records

from tidegate.audit.journal import Journal
from tidegate.audit.verify import verify
from tidegate.domain.errors import JournalUnavailable


def crash(journal: Journal) -> None:
    """Drop a journal as a crash would: no closing record, the lock gone, the tip left as it last was."""
    journal._tape._note_tip = lambda: None  # type: ignore[method-assign]  # pyright: ignore[reportPrivateUsage]
    journal._tape.close()  # pyright: ignore[reportPrivateUsage]


def recovered(directory: Path) -> list[dict[str, object]]:
    return [record for record in records(directory) if record.get("part") == "recovered"]


def test_open_intents_are_closed_as_unknown_with_their_tenant(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    call(journal, "done")
    begin(journal, "a")
    begin(journal, "b")
    crash(journal)
    open_journal(tmp_path).close()
    closed = [record for record in records(tmp_path) if record.get("outcome") == "unknown"]
    assert [(record["call"], record["tenant"]) for record in closed] == [("a", "default"), ("b", "default")]
    assert recovered(tmp_path) == []
    assert verify(tmp_path, KEY).ok


def test_intents_left_open_in_an_earlier_file_are_closed_too(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_size=3000)
    begin(journal, "old")
    for _ in range(20):
        call(journal)
    crash(journal)
    open_journal(tmp_path, segment_size=3000).close()
    [closed] = [record for record in records(tmp_path) if record.get("outcome") == "unknown"]
    assert (closed["intent"], closed["call"], closed["tenant"]) == (2, "old", "default")
    verdict = verify(tmp_path, KEY)
    assert verdict.ok, verdict.faults


@pytest.mark.parametrize(
    "torn", [b"{", b'{"v":1,"writer":"w","seq":4,"ti', b"\0" * 5000, b"\0\n\0\n", b"{}\n{}"]
)
def test_what_is_torn_is_set_aside_and_said(tmp_path: Path, torn: bytes) -> None:
    journal = open_journal(tmp_path)
    call(journal)
    crash(journal)
    whole = files(tmp_path)[0].read_bytes()
    files(tmp_path)[0].write_bytes(whole + torn)
    journal = open_journal(tmp_path)
    call(journal)
    journal.close()
    assert files(tmp_path)[0].read_bytes().startswith(whole)
    [side] = tmp_path.glob("*.torn-*")
    assert side.read_bytes() == torn
    [record] = recovered(tmp_path)
    assert (record["cut"], record["damaged"], record["lost"]) == (len(torn), 0, 0)
    verdict = verify(tmp_path, KEY)
    assert verdict.ok, verdict.faults


def test_a_whole_line_cut_anywhere_is_recovered(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "kept")
    call(journal)
    begin(journal, "last")
    crash(journal)
    content = files(tmp_path / "kept")[0].read_bytes()
    start = content.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(content), 7):
        directory = tmp_path / str(cut)
        directory.mkdir()
        (directory / files(tmp_path / "kept")[0].name).write_bytes(content[:cut])
        (directory / "tip-w").write_bytes((tmp_path / "kept" / "tip-w").read_bytes())
        open_journal(directory).close()
        verdict = verify(directory, KEY)
        assert verdict.ok, (cut, verdict.faults)
        assert verdict.open == 0


def test_a_file_without_even_a_head_is_set_aside_and_the_one_before_goes_on(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    call(journal)
    crash(journal)
    (tmp_path / "journal-w-0000000000000004.jsonl").write_bytes(b'{"v":1,"writer"')
    journal = open_journal(tmp_path)
    call(journal)
    journal.close()
    assert [path.name for path in files(tmp_path)] == ["journal-w-0000000000000001.jsonl"]
    assert [record["file"] for record in recovered(tmp_path)] == ["journal-w-0000000000000004.jsonl.torn-0"]
    verdict = verify(tmp_path, KEY)
    assert verdict.ok, verdict.faults


def test_an_empty_file_alone_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "journal-w-0000000000000001.jsonl").write_bytes(b"")
    journal = open_journal(tmp_path)
    call(journal)
    journal.close()
    assert verify(tmp_path, KEY).ok


def test_damage_before_whole_records_is_said_and_nothing_is_cut(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for _ in range(3):
        call(journal)
    crash(journal)
    content = files(tmp_path)[0].read_bytes().replace(b'"alice"', b'"mallo"', 1)
    files(tmp_path)[0].write_bytes(content)
    journal = open_journal(tmp_path)
    call(journal)
    journal.close()
    assert files(tmp_path)[0].read_bytes().startswith(content)
    [record] = recovered(tmp_path)
    assert (record["damaged"], record["cut"]) == (2, 0)
    verdict = verify(tmp_path, KEY)
    assert [fault.line for fault in verdict.faults] == [2]


def test_a_damaged_head_does_not_cost_the_records_after_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    call(journal)
    begin(journal, "open")
    crash(journal)
    content = files(tmp_path)[0].read_bytes().replace(b'"part":"head"', b'"part":"herd"', 1)
    files(tmp_path)[0].write_bytes(content)
    open_journal(tmp_path).close()
    assert files(tmp_path)[0].read_bytes().startswith(content)
    assert [record["call"] for record in records(tmp_path) if record.get("outcome") == "unknown"] == ["open"]


def test_records_that_were_written_and_are_gone_are_said(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for _ in range(50):
        call(journal)
    journal.close()
    lines = files(tmp_path)[0].read_bytes().splitlines(keepends=True)
    files(tmp_path)[0].write_bytes(b"".join(lines[:-10]))
    open_journal(tmp_path).close()
    assert [record["lost"] for record in recovered(tmp_path)] == [10]
    verdict = verify(tmp_path, KEY)
    assert verdict.ok
    assert "10 records had been written and were gone" in verdict.recoveries[0].what


def test_a_root_that_was_not_written_in_time_is_written_at_the_next_start(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_size=4000)
    while len(files(tmp_path)) < 2:
        call(journal)
    crash(journal)
    assert "segment:root" not in kinds(tmp_path)
    journal = open_journal(tmp_path)
    end(journal, begin(journal))
    journal.close()
    verdict = verify(tmp_path, KEY)
    assert verdict.ok, verdict.faults
    assert verdict.roots == 1


def test_a_lock_does_not_outlive_a_failed_start(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    call(journal)
    crash(journal)
    path = files(tmp_path)[0]
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    for _ in range(2):
        with pytest.raises(JournalUnavailable, match="Is a directory"):
            open_journal(tmp_path)
    path.rmdir()
    path.write_bytes(content)
    open_journal(tmp_path).close()
    assert verify(tmp_path).ok


def test_a_start_of_a_file_that_was_never_finished_is_swept(tmp_path: Path) -> None:
    (tmp_path / "journal-w-0000000000000009.new").write_bytes(b"half a he")
    open_journal(tmp_path).close()
    assert not list(tmp_path.glob("*.new"))
