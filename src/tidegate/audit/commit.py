"""Group commit: one `fdatasync` in a thread for all who wait for their record to outlive the machine."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tidegate.audit.tape import Tape
from tidegate.domain.errors import JournalUnavailable


class GroupCommit:
    """Makes the records of a tape durable. While one commit runs, whoever comes waits for the next."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal-commit")
        self._durable = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._running = False
        self._closed = False

    async def reach(self, sequence: int) -> None:
        """Wait until the record with this number is on the disk itself.

        Raises:
            JournalUnavailable: it could not be brought there, or it is not known.
        """
        while self._durable < sequence:
            if self._tape.failure is not None:
                raise JournalUnavailable(self._tape.failure)
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            self._waiting.append(waiter)
            if not self._running:
                self._begin(loop)
            await waiter

    def close(self) -> None:
        """Wait for the commit that runs. Whoever still waits learns it from the loop."""
        self._closed = True
        self._thread.shutdown()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, []
        upto = self._tape.next - 1
        left, fresh = self._tape.take_unsynced()
        directory = self._tape.directory if fresh else None
        self._running = True
        job = loop.run_in_executor(self._thread, _sync, left, self._tape.descriptor, directory)
        job.add_done_callback(lambda done: self._end(loop, done, upto, waiting))

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        job: asyncio.Future[None],
        upto: int,
        waiting: list[asyncio.Future[None]],
    ) -> None:
        self._running = False
        error = None if job.cancelled() else job.exception()
        if error is not None or job.cancelled():
            # The kernel forgets what it could not write: a second fdatasync would say all is well.
            why = error.strerror if isinstance(error, OSError) else "interrupted"
            self._tape.fail(f"the journal could not be made durable: {why}")
        else:
            self._durable = max(self._durable, upto)
        if self._closed:
            waiting, self._waiting = waiting + self._waiting, []
        elif self._waiting:
            self._begin(loop)
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


def _sync(left: list[int], current: int, directory: Path | None) -> None:
    """Make files durable in the order they were written, then the directory's new names."""
    try:
        for fd in left:
            os.fdatasync(fd)
    finally:
        for fd in left:
            os.close(fd)
    os.fdatasync(current)
    if directory is not None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
