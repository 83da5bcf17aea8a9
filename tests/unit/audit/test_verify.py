"""Whatever is done to the files is found, and located."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import KEY, begin, call, end, files, open_journal

from tidegate.audit.lines import link
from tidegate.audit.verify import Verdict, verify
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RecordKind


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of several files, with a crash in its past and every kind of record."""
    directory = tmp_path_factory.mktemp("kept") / "journal"
    journal = open_journal(directory, segment_size=6000)
    waiting = begin(journal, "slow")
    journal.event(RecordKind.GATEWAY, {"what": "started"})
    for number in range(10):
        call(journal, f"c{number}")
    begin(journal, "left open")
    journal._tape.close()  # pyright: ignore[reportPrivateUsage] - as a crash would: no closing record
    with files(directory)[-1].open("ab") as file:
        file.write(b'{"v":1,"writer":"w","se')
    journal = open_journal(directory, segment_size=6000)
    for number in range(20):
        call(journal, f"d{number}")
    end(journal, waiting)
    journal.close()
    assert len(files(directory)) >= 4
    return directory


def change(kept: Path, tmp_path: Path, name: str = "copy") -> Path:
    return Path(shutil.copytree(kept, tmp_path / name))


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def whats(verdict: Verdict) -> str:
    return "\n".join(str(fault) for fault in verdict.faults)


def test_what_was_not_touched_is_right(kept: Path) -> None:
    verdict = verify(kept, KEY)
    assert verdict.ok, whats(verdict)
    assert (verdict.intents, verdict.outcomes, verdict.unknown, verdict.open) == (32, 32, 2, 0)
    assert len(verdict.recoveries) == 1
    assert "23 torn bytes were set aside" in verdict.recoveries[0].what
    assert verdict.roots == verdict.segments - 1
    assert verdict.sealed == verdict.segments + 1
    assert verify(kept).sealed is None


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_edit_of_any_byte_is_found_in_its_file(kept: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(files(kept)))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
    try:
        path.write_bytes(content[:place] + bytes([other]) + content[place + 1 :])
        verdict = verify(kept)
    finally:
        path.write_bytes(content)
    assert not verdict.ok
    first = verdict.faults[0]
    assert first.file == path.name
    assert first.line == content[:place].count(b"\n") + 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_bytes_taken_out_or_put_in_are_found(kept: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(files(kept)))
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1))
    end_ = data.draw(st.integers(start, len(content)))
    put = data.draw(st.binary(max_size=20))
    changed = content[:start] + put + content[end_:]
    if changed == content:
        return
    try:
        path.write_bytes(changed)
        assert not verify(kept).ok
    finally:
        path.write_bytes(content)


def test_a_line_taken_out_is_located(kept: Path, tmp_path: Path) -> None:
    directory = change(kept, tmp_path)
    path = files(directory)[1]
    lines = lines_of(path)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))
    verdict = verify(directory)
    assert (verdict.faults[0].file, verdict.faults[0].line) == (path.name, 4)
    assert "missing before it" in whats(verdict)


def test_two_lines_swapped_are_located(kept: Path, tmp_path: Path) -> None:
    directory = change(kept, tmp_path)
    path = files(directory)[1]
    lines = lines_of(path)
    lines[4], lines[5] = lines[5], lines[4]
    path.write_bytes(b"".join(lines))
    verdict = verify(directory)
    assert (verdict.faults[0].file, verdict.faults[0].line) == (path.name, 5)
    assert "out of order" in whats(verdict)


def test_a_repeated_line_is_located(kept: Path, tmp_path: Path) -> None:
    directory = change(kept, tmp_path)
    path = files(directory)[0]
    lines = lines_of(path)
    path.write_bytes(b"".join(lines[:4] + lines[3:]))
    verdict = verify(directory)
    assert verdict.faults[0].line == 5
    assert "repeated or out of order" in whats(verdict)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_missing_file_is_said(kept: Path, tmp_path: Path, which: int) -> None:
    directory = change(kept, tmp_path)
    path = files(directory)[which]
    after = files(directory)[which + 1].name
    first, following = (int(p.stem.rsplit("-", 1)[1]) for p in files(directory)[which : which + 2])
    path.unlink()
    verdict = verify(directory)
    assert f"{after}: records {first} to {following - 1} before it are missing" in whats(verdict)


def test_the_last_file_missing_is_said(kept: Path, tmp_path: Path) -> None:
    directory = change(kept, tmp_path)
    files(directory)[-1].unlink()
    assert "are missing after it" in whats(verify(directory))


def test_all_files_missing_is_said(kept: Path, tmp_path: Path) -> None:
    directory = change(kept, tmp_path)
    for path in files(directory):
        path.unlink()
    assert "every file of this writer is missing" in whats(verify(directory))


def test_records_cut_off_at_the_end_are_missed(kept: Path, tmp_path: Path) -> None:
    directory = change(kept, tmp_path)
    path = files(directory)[-1]
    lines = lines_of(path)
    path.write_bytes(b"".join(lines[:-1]))
    last = json.loads(lines[-1])["seq"]
    assert f"cut: records {last} to {last} are missing after it" in whats(verify(directory))


def test_a_missing_tip_is_said(kept: Path, tmp_path: Path) -> None:
    directory = change(kept, tmp_path)
    (directory / "tip-w").unlink()
    assert "tip-w: missing" in whats(verify(directory))


def test_half_a_line_at_the_end_is_told_from_a_change(kept: Path, tmp_path: Path) -> None:
    directory = change(kept, tmp_path)
    path = files(directory)[-1]
    path.write_bytes(path.read_bytes() + b'{"v":1,"wri')
    assert f"{path.name}:{len(lines_of(path))}: torn" in whats(verify(directory))


def rechain(directory: Path, alter: Callable[[int, bytes], bytes], start: int) -> None:
    """Write a file anew with right hashes all along, as someone would who has no key."""
    path = files(directory)[start]
    previous = json.loads(lines_of(path)[0])["chain"]
    written: list[bytes] = []
    for number, line in enumerate(lines_of(path), start=1):
        body = alter(number, line[: line.rindex(b',"hash":"')])
        if b'"part":"close"' in body:
            said = body.index(b'"chain":"') + 9
            body = body[:said] + previous.encode() + body[said + 64 :]
        previous = link(previous, body.decode())
        written.append(b'%b,"hash":"%b"}\n' % (body, previous.encode()))
    path.write_bytes(b"".join(written))


def test_a_file_rewritten_with_right_hashes_does_not_fit_the_next(kept: Path, tmp_path: Path) -> None:
    directory = change(kept, tmp_path)
    rechain(directory, lambda number, body: body.replace(b'"alice"', b'"mallo"'), 1)
    faults = whats(verify(directory))
    assert "does not go on from the hash that the file before ends with" in faults
    assert f"the Merkle root it keeps is not that of {files(directory)[1].name}" in faults


def test_the_last_file_rewritten_with_right_hashes_is_found_with_the_key(kept: Path, tmp_path: Path) -> None:
    directory = change(kept, tmp_path)
    rechain(
        directory, lambda number, body: body.replace(b'"time":1', b'"time":2') if number > 1 else body, -1
    )
    assert verify(directory).ok  # Nobody without the key could tell; `docs/journal.md` says so.
    assert "its seal is not right" in whats(verify(directory, KEY))


def test_the_wrong_key_fits_no_seal(kept: Path) -> None:
    verdict = verify(kept, b"x" * 32)
    assert verdict.fault_count == verdict.segments + 1
    assert verdict.sealed == 0


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'"writer":"w"', b'"writer":"x"', "of another writer, 'x'"),
        (b'{"v":1,', b'{"v":2,', "of version 2, which is not known"),
        (b'"kind":"call.intent"', b'"kind":"call.invent"', "of kind 'call.invent', which is not known"),
        (b'"kind":"call.intent"', b'"kind":"workload"', "outcome without the intent"),
        (b'"kind":"segment","part":"root"', b'"kind":"segment","part":"rook"', "of part 'rook'"),
        (b'"root":"', b'"root":"0', "the Merkle root it keeps is not that of"),
        (b'"open":[', b'"open":[[1,"x","y"],', "its list of open intents is not right"),
    ],
)
def test_records_that_contradict_each_other_are_found_though_hashes_fit(
    kept: Path, tmp_path: Path, old: bytes, new: bytes, says: str
) -> None:
    directory = change(kept, tmp_path)
    target = next(i for i, path in enumerate(files(directory)[1:], 1) if old in path.read_bytes())
    rechain(
        directory,
        lambda number, body: body.replace(old, new).replace(b'[[1,"x","y"],]', b'[[1,"x","y"]]'),
        target,
    )
    assert says in whats(verify(directory))


def test_what_was_set_aside_must_stay_as_it_was(kept: Path, tmp_path: Path) -> None:
    directory = change(kept, tmp_path)
    [side] = directory.glob("*.torn-*")
    side.write_bytes(b"other")
    assert f"{side.name}, which it names, was changed" in whats(verify(directory))
    side.unlink()
    assert f"{side.name}, which it names, is missing" in whats(verify(directory))


def test_many_faults_are_counted_and_the_first_ones_told(kept: Path, tmp_path: Path) -> None:
    directory = tmp_path / "copy"
    journal = open_journal(directory)
    for _ in range(300):
        call(journal)
    journal.close()
    path = files(directory)[0]
    path.write_bytes(path.read_bytes().replace(b'"alice"', b'"mallo"'))
    verdict = verify(directory)
    assert verdict.fault_count == 300
    assert len(verdict.faults) == 200


def test_no_journal_at_all_is_fine_and_no_directory_is_not(tmp_path: Path) -> None:
    assert verify(tmp_path).ok
    with pytest.raises(JournalUnavailable, match="cannot be read"):
        verify(tmp_path / "nowhere")


def test_a_journal_in_use_can_be_checked(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    begin(journal)
    verdict = verify(tmp_path, KEY)
    assert verdict.ok, whats(verdict)
    assert verdict.open == 1
    journal.close()


def test_a_journal_that_grows_while_it_is_checked_is_right(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_size=3000)
    stop = threading.Event()
    verdicts: list[Verdict] = []

    def check() -> None:
        while not stop.is_set():
            verdicts.append(verify(tmp_path, KEY))

    checking = threading.Thread(target=check)
    checking.start()
    number = 0
    while len(verdicts) < 20 and number < 20_000:
        call(journal, f"c{number}")
        number += 1
        if number % 50 == 0:
            os.sched_yield()
    stop.set()
    checking.join(30)
    journal.close()
    assert len(verdicts) >= 3
    assert [whats(verdict) for verdict in verdicts if not verdict.ok] == []


def test_a_journal_of_the_first_version_verifies_as_it_stands() -> None:
    # These files stay: every later version of the gateway verifies them.
    verdict = verify(Path(__file__).parent / "kept" / "version-1", KEY)
    assert verdict.ok, whats(verdict)
    assert (verdict.records, verdict.intents, verdict.outcomes, verdict.unknown) == (43, 12, 12, 2)
    assert verdict.sealed == verdict.segments + 1 == verdict.roots + 2
    assert len(verdict.recoveries) == 1
