"""Durability: who waits for what, and what a failing disk means."""

import asyncio
import os
import threading
from pathlib import Path

import pytest
from journals import KEY, begin, call, end, files, open_journal, records

from tidegate.audit.verify import verify
from tidegate.domain.errors import JournalUnavailable


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What `fdatasync` was called for, with the size it had: the system's own function, watched."""
    calls: list[tuple[str, int]] = []
    real = os.fdatasync

    def watched(fd: int) -> None:
        size = os.fstat(fd).st_size
        real(fd)
        calls.append((os.readlink(f"/proc/self/fd/{fd}"), size))

    monkeypatch.setattr(os, "fdatasync", watched)
    return calls


async def test_under_write_nobody_waits(tmp_path: Path, synced: list[tuple[str, int]]) -> None:
    journal = open_journal(tmp_path)
    await journal.durable(begin(journal))
    assert synced == []
    journal.close()


async def test_under_fsync_a_call_waits_until_its_record_is_on_the_disk(
    tmp_path: Path, synced: list[tuple[str, int]]
) -> None:
    journal = open_journal(tmp_path, durability="fsync")
    intent = begin(journal)
    size = files(tmp_path)[0].stat().st_size
    await journal.durable(intent)
    assert synced == [(str(files(tmp_path)[0]), size)]
    await journal.durable(intent)
    assert len(synced) == 1
    journal.close()


async def test_many_that_wait_share_a_commit(tmp_path: Path, synced: list[tuple[str, int]]) -> None:
    journal = open_journal(tmp_path, durability="fsync")

    async def one(number: int) -> None:
        intent = begin(journal, f"c{number}")
        await journal.durable(intent)
        end(journal, intent)

    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(one(number))
    assert len(synced) <= 4
    journal.close()
    assert verify(tmp_path, KEY).ok


async def test_a_record_in_the_file_before_is_made_durable_with_the_file_after(
    tmp_path: Path, synced: list[tuple[str, int]]
) -> None:
    journal = open_journal(tmp_path, durability="fsync", segment_size=3000)
    first = begin(journal)
    while len(files(tmp_path)) < 2:
        call(journal)
    await journal.durable(first)
    assert [name for name, _ in synced] == [str(path) for path in files(tmp_path)]
    journal.close()
    assert verify(tmp_path, KEY).ok


async def test_who_stops_waiting_leaves_the_others_in_peace(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, durability="fsync")
    first, second = begin(journal, "a"), begin(journal, "b")
    leaving = asyncio.ensure_future(journal.durable(first))
    staying = asyncio.ensure_future(journal.durable(second))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait_for(staying, 5)
    assert leaving.cancelled()
    # Who left sent nothing: the intent is closed, not open for ever.
    assert journal.open_intents == 1
    assert [(r["call"], r["outcome"]) for r in records(tmp_path) if "outcome" in r] == [("a", "cancelled")]
    journal.close()


async def test_after_a_disk_that_failed_nothing_is_taken_until_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path, durability="fsync")
    failing = True

    def fdatasync(fd: int) -> None:
        if failing:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    intent = begin(journal)
    with pytest.raises(JournalUnavailable, match="could not be made durable: Input/output error"):
        await journal.durable(intent)
    # The second fdatasync of a real kernel would succeed, though the data are lost.
    failing = False
    with pytest.raises(JournalUnavailable):
        await journal.durable(intent)
    with pytest.raises(JournalUnavailable):
        begin(journal)
    assert journal.failure is not None
    end(journal, intent)
    journal.close()
    monkeypatch.undo()
    open_journal(tmp_path).close()
    verdict = verify(tmp_path, KEY)
    assert verdict.ok, verdict.faults
    assert verdict.unknown == 1


async def test_closing_while_someone_waits_lets_them_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path, durability="fsync")
    begun, goon = threading.Event(), threading.Event()
    real = os.fdatasync

    def slow(fd: int) -> None:
        begun.set()
        goon.wait(5)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    waiting = [asyncio.ensure_future(journal.durable(begin(journal)))]
    await asyncio.to_thread(begun.wait, 5)
    waiting.append(asyncio.ensure_future(journal.durable(begin(journal))))
    await asyncio.sleep(0)
    goon.set()
    journal.close()
    first, second = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert first is None
    assert isinstance(second, JournalUnavailable)
    verdict = verify(tmp_path, KEY)
    assert verdict.ok
    assert verdict.intents == 2
