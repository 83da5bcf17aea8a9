"""Small values in a SQLite file: they outlive the process, and other processes on the host share them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from tidegate.domain.errors import StateError
from tidegate.extensions.state.changes import Watchers, check_bounds
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.state import State

FILE = "state.sqlite"
SCHEMA = 1
POLL = 0.25
"""Seconds between two looks for other processes' changes, which are to be seen within one second."""
BUSY = 5.0
"""Seconds to wait for another process's transaction."""
_SWEEP = 60.0
_KEPT_CHANGES = 10_000
"""Changes kept for others to see: far more than come between two looks."""

T = TypeVar("T")


class SqliteSettings(BaseModel):
    """Settings of the store in a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["sqlite"] = "sqlite"
    size: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024, le=1 << 40)
    """Bytes the file may grow to."""


class SqliteState:
    """Keys and values in a SQLite file. All of it runs in one thread of its own.

    `clock` gives Unix seconds: expiry must mean the same to every process.
    """

    def __init__(
        self, path: Path, *, size: int = 256 * 1024 * 1024, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._size = size
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state-sqlite")
        self._watchers = Watchers()
        self._database: sqlite3.Connection | None = None
        self._closed = False
        self._seen = 0
        self._own: set[int] = set()
        """Numbers beyond `_seen` of changes that were this process's."""
        self._data_version = -1
        self._swept = 0.0

    async def open(self) -> None:
        """Open the file, creating it (mode 0600) where it is missing.

        Raises:
            StateError: it cannot be opened, is damaged, or is of a later version.
        """
        try:
            await self._run(self._open)
        except BaseException:
            self._closed = True
            self._thread.shutdown(wait=False)
            raise

    async def close(self) -> None:
        """Close the file. Idempotent."""
        if not self._closed:
            await self._run(self._close)
            self._closed = True
            self._thread.shutdown()

    async def get(self, key: str) -> bytes | None:
        """Give the value, or None where there is none or it expired."""
        return await self._run(lambda: self._get(key))

    async def put(self, key: str, value: bytes | None, *, expires: float | None = None) -> None:
        """Set a value, or delete it with None."""
        check_bounds(key, value)
        await self._run(self._telling(key, lambda: self._change(key, value, expires)))

    async def compare_and_set(
        self, key: str, expected: bytes | None, value: bytes | None, *, expires: float | None = None
    ) -> bool:
        """Set only where the value now is `expected`, in one transaction."""
        check_bounds(key, value)
        return await self._run(self._telling(key, lambda: self._change(key, value, expires, (expected,))))

    async def scan(self, prefix: str) -> Sequence[tuple[str, bytes]]:
        """Give the live keys that begin with `prefix`, in order, with their values."""
        return await self._run(lambda: self._scan(prefix))

    def watch(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys under `prefix` that change from now on, whichever process changes them."""
        return self._watchers.add(prefix)

    async def poll(self) -> None:
        """Look once for what other processes changed, and tell those who watch.

        Raises:
            StateError: the file cannot be read now.
        """
        for key in await self._run(self._foreign):
            self._watchers.tell(key)

    def _telling(self, key: str, change: Callable[[], bool]) -> Callable[[], bool]:
        """Have a change told from its thread, so that it is also where its caller was cancelled."""
        loop = asyncio.get_running_loop()

        def work() -> bool:
            changed = change()
            if changed:
                loop.call_soon_threadsafe(self._watchers.tell, key)
            return changed

        return work

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise StateError(f"the state store {self._path} is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise StateError(f"the state store {self._path} cannot be used: {error}") from error
        except OSError as error:
            raise StateError(f"the state store {self._path} cannot be used: {error.strerror}") from error

    @property
    def _open_database(self) -> sqlite3.Connection:
        if self._database is None:
            raise StateError(f"the state store {self._path} is closed")
        return self._database

    def _open(self) -> None:
        # SQLite gives its -wal and -shm files the mode of this one.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(self._path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            _prepare(database, self._path, self._size)
            self._seen = _one(database, "SELECT coalesce(max(number), 0) FROM change")
            self._data_version = _one(database, "PRAGMA data_version")
        except BaseException:
            database.close()
            raise
        self._database = database

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _get(self, key: str) -> bytes | None:
        row = self._open_database.execute(
            "SELECT value FROM entry WHERE key = ? AND (expires IS NULL OR expires > ?)", (key, self._clock())
        ).fetchone()
        return None if row is None else bytes(row[0])

    def _scan(self, prefix: str) -> list[tuple[str, bytes]]:
        rows = self._open_database.execute(
            # The bounds are what an index can look up; keys are compared by their bytes, and none of UTF-8 is 0xFF.
            "SELECT key, value FROM entry WHERE key >= ?1 AND key < CAST(CAST(?1 AS BLOB) || x'FF' AS TEXT)"
            " AND substr(key, 1, ?2) = ?1 AND (expires IS NULL OR expires > ?3) ORDER BY key",
            (prefix, len(prefix), self._clock()),
        )
        return [(str(key), bytes(value)) for key, value in rows]

    def _change(
        self,
        key: str,
        value: bytes | None,
        expires: float | None,
        expected: tuple[bytes | None] | None = None,
    ) -> bool:
        database, now = self._open_database, self._clock()
        database.execute("BEGIN IMMEDIATE")
        try:
            if expected is not None and self._get(key) != expected[0]:
                database.execute("ROLLBACK")
                return False
            if value is None:
                database.execute("DELETE FROM entry WHERE key = ?", (key,))
            else:
                until = None if expires is None else now + expires
                database.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", (key, value, until))
            number = database.execute("INSERT INTO change (key) VALUES (?)", (key,)).lastrowid or 0
            if now - self._swept > _SWEEP:
                self._sweep(now)
            others = _one(database, "PRAGMA data_version") != self._data_version
            database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise
        if others:
            self._own.add(number)
        else:
            self._seen = number
        return True

    def _sweep(self, now: float) -> None:
        self._swept = now
        self._open_database.execute("DELETE FROM entry WHERE expires <= ?", (now,))
        self._open_database.execute(
            "DELETE FROM change WHERE number <= (SELECT max(number) FROM change) - ?", (_KEPT_CHANGES,)
        )

    def _foreign(self) -> list[str]:
        database = self._open_database
        # Changes only when another connection has committed; costs no read of the file's pages.
        version = _one(database, "PRAGMA data_version")
        if version == self._data_version:
            return []
        rows = database.execute(
            "SELECT number, key FROM change WHERE number > ? ORDER BY number", (self._seen,)
        )
        found = [(int(number), str(key)) for number, key in rows]
        self._data_version = version
        foreign = dict.fromkeys(key for number, key in found if number not in self._own)
        if found:
            self._seen = found[-1][0]
        self._own.clear()
        return list(foreign)


def _one(database: sqlite3.Connection, query: str) -> int:
    return int(database.execute(query).fetchone()[0])


def _prepare(database: sqlite3.Connection, path: Path, size: int) -> None:
    _use_wal(database)
    # WAL with NORMAL: nothing committed is lost when the process dies, the last of it may be with the machine.
    database.execute("PRAGMA synchronous = NORMAL")
    # What was deleted is overwritten: letters between gateways carry what users answered.
    database.execute("PRAGMA secure_delete = ON")
    database.execute(f"PRAGMA max_page_count = {size // _one(database, 'PRAGMA page_size')}")
    version = _one(database, "PRAGMA user_version")
    if version > SCHEMA:
        raise StateError(f"the state store {path} has version {version}, this gateway knows up to {SCHEMA}")
    if version == SCHEMA:
        return
    database.execute("BEGIN IMMEDIATE")
    database.execute(
        "CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL) WITHOUT ROWID"
    )
    database.execute("CREATE INDEX IF NOT EXISTS entry_expires ON entry (expires) WHERE expires IS NOT NULL")
    database.execute(
        "CREATE TABLE IF NOT EXISTS change (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL)"
    )
    database.execute(f"PRAGMA user_version = {SCHEMA}")
    database.execute("COMMIT")


def _use_wal(database: sqlite3.Connection) -> None:
    # SQLite does not wait for another process here, whatever the timeout says: two may start at once.
    for _ in range(50):
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.02)
        else:
            return
    raise StateError("another process keeps the state store locked")


async def _follow(state: SqliteState) -> None:
    while True:
        await asyncio.sleep(POLL)
        try:
            await state.poll()
        except StateError:
            # Busy or out of reach for now; whoever reads or writes learns it, and the next look catches up.
            continue


@asynccontextmanager
async def open_sqlite(settings: SqliteSettings, surroundings: Surroundings) -> AsyncGenerator[State]:
    """Open the store in the state directory, and look for other processes' changes while it is open."""
    state = SqliteState(surroundings.state_dir / FILE, size=settings.size)
    await state.open()
    async with asyncio.TaskGroup() as group:
        following = group.create_task(_follow(state))
        try:
            yield state
        finally:
            following.cancel()
            await state.close()


SQLITE: Extension[SqliteSettings, State] = Extension(SqliteSettings, open_sqlite)
