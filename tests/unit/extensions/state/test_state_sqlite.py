"""What the store in a file does beyond the contract: other processes, damage, bounds."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidegate.domain.errors import StateError
from tidegate.extensions.state.sqlite import SQLITE, SqliteSettings, SqliteState
from tidegate.ports.extension import Surroundings
from tidegate.testing.clock import VirtualClock

ELSEWHERE = """
import asyncio, sys
from pathlib import Path
from tidegate.extensions.state.sqlite import SqliteState

async def main():
    state = SqliteState(Path(sys.argv[1]))
    await state.open()
    for key in sys.argv[2:]:
        await state.put(key, b"from elsewhere")
    await state.close()

asyncio.run(main())
"""


def put_elsewhere(path: Path, *keys: str) -> None:
    subprocess.run([sys.executable, "-c", ELSEWHERE, str(path), *keys], check=True, timeout=30)


async def test_a_change_by_another_process_is_told_within_a_second(tmp_path: Path) -> None:
    async with SQLITE.open(SqliteSettings(), Surroundings(tmp_path, "0" * 16)) as state:
        changes = state.watch("key/")
        await state.put("mine", b"1")
        await asyncio.to_thread(put_elsewhere, tmp_path / "state.sqlite", "key/a", "else")
        since = time.monotonic()
        assert await asyncio.wait_for(anext(changes), 5) == "key/a"
        assert time.monotonic() - since < 1.0
        assert await state.get("key/a") == b"from elsewhere"


async def test_own_changes_are_told_once_though_another_process_changes_something(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = SqliteState(path)
    await state.open()
    await state.put("key/old", b"1")
    changes = state.watch("key/")
    await asyncio.to_thread(put_elsewhere, path, "key/theirs")
    await state.put("key/mine", b"1")
    assert await anext(changes) == "key/mine"
    await state.poll()
    assert await anext(changes) == "key/theirs"
    await state.put("key/last", b"1")
    assert await anext(changes) == "key/last"
    await state.close()


async def test_values_outlive_the_process(tmp_path: Path) -> None:
    await asyncio.to_thread(put_elsewhere, tmp_path / "state.sqlite", "a")
    async with SQLITE.open(SqliteSettings(), Surroundings(tmp_path, "0" * 16)) as state:
        assert await state.get("a") == b"from elsewhere"


async def test_two_processes_that_create_the_file_at_once_both_get_it(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    await asyncio.gather(*(asyncio.to_thread(put_elsewhere, path, f"k/{number}") for number in range(3)))
    state = SqliteState(path)
    await state.open()
    assert [key for key, _ in await state.scan("k/")] == ["k/0", "k/1", "k/2"]
    await state.close()


async def test_no_one_else_can_read_the_files(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.sqlite")
    await state.open()
    await state.put("a", b"1")
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    await state.close()


async def test_what_expired_is_swept_from_the_file(tmp_path: Path) -> None:
    clock = VirtualClock()
    state = SqliteState(tmp_path / "state.sqlite", clock=clock)
    await state.open()
    await state.put("short", b"1", expires=5)
    clock.advance(100)
    await state.put("other", b"1")
    await state.close()
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        assert database.execute("SELECT key FROM entry").fetchall() == [("other",)]
    database.close()


async def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"this is no database, " * 100)
    with pytest.raises(StateError, match=r"state\.sqlite cannot be used"):
        await SqliteState(path).open()


async def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StateError, match="has version 99"):
        await SqliteState(path).open()


async def test_the_file_does_not_grow_over_its_bound(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.sqlite", size=1024 * 1024)
    await state.open()
    await state.put("a", b"kept")
    with pytest.raises(StateError, match="full"):
        await state.put("b", bytes(1024 * 1024))
    assert await state.get("a") == b"kept"
    await state.close()


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.sqlite")
    await state.open()
    await state.close()
    await state.close()
    with pytest.raises(StateError, match="closed"):
        await state.get("a")


async def test_what_was_deleted_stands_nowhere_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = SqliteState(path)
    await state.open()
    await state.put("mail/one/1", b"hunter2 " * 2000)
    assert b"hunter2" in b"".join(each.read_bytes() for each in tmp_path.iterdir())
    await state.put("mail/one/1", None)
    await state.close()  # what is in the write-ahead log is then in the file
    assert [each.name for each in tmp_path.iterdir() if b"hunter2" in each.read_bytes()] == []
