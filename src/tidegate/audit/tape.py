"""The chained lines on the disk: numbers, hashes, room, files and their change. Knows no calls.

Everything but `commit` runs on one thread and does not wait for anything but `write`.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from tidegate.audit import lines as form
from tidegate.audit.recovery import Left, look
from tidegate.audit.room import Room
from tidegate.audit.segment import TIP_DIGITS, read_tip, root_of, segment_path, tip_path
from tidegate.domain.errors import JournalUnavailable

_TIP_EVERY = 32
"""Records between two notes of how far the writer is: one more `write` a record would cost 1 µs."""
_RETRY = 64 * 1024
"""Bytes after which a change of file that failed is tried again."""
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


class Tape:
    """Appends records of one writer."""

    def __init__(self, directory: Path, writer: str, key: bytes, segment_size: int, sync: bool) -> None:
        self._directory = directory
        self._writer = writer
        self._key = key
        self._segment_size = segment_size
        self._sync = sync
        self._prefix = form.prefix(writer)
        self._tip = _take_lock(tip_path(directory, writer), writer)
        self.tip = read_tip(tip_path(directory, writer)) or 0
        """How far the tip said the writer had come before this start."""
        try:
            self.found: Left = look(directory, writer)
        except JournalUnavailable:
            os.close(self._tip)
            raise
        self.open: dict[int, tuple[str, str, str]] = dict(self.found.open)
        """Call id, tenant (both quoted) and workload of the intents without outcome: a new file's head lists them."""
        self.owed = 0
        """Bytes kept free for the outcomes of open intents."""
        self.failure: str | None = None
        """Why nothing can be written any more, until the next start."""
        self._retired: list[int] = []
        self._fresh = False
        self._roots: deque[tuple[int, int, Future[str]]] = deque()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="journal-root")
        self.next = self.found.next
        self._chain = self.found.chain
        self._first = self.found.file.first if self.found.file else 0
        self._size = self.found.size
        self._fd = -1
        self._room: Room | None = None
        self._free = 0
        """Offset up to which a write finds room that is owed to no outcome."""
        self._rotate_at = segment_size

    def start(self, time_us: int) -> None:
        """Open the file to go on in, or the first one.

        Raises:
            JournalUnavailable: it cannot be written.
        """
        for stale in self._directory.glob(f"journal-{self._writer}-*.new"):
            stale.unlink()
        if self.found.file is None:
            self._rotate(time_us, 0)
            if self._fd < 0:
                raise JournalUnavailable(
                    f"the journal in {self._directory} cannot be begun: its disk is full"
                )
            return
        try:
            self._fd = os.open(self.found.file.path, _FLAGS)
        except OSError as error:
            raise JournalUnavailable(f"the journal cannot be opened: {error.strerror}") from error
        self._room = Room(self._fd, self._size)
        self._free = self._size
        for first, count in self.found.rootless:
            self._compute_root(first, count)

    def append(self, time_us: int, rest: str, room: int = 0) -> int:
        """Write a record and give its number. `rest` is what stands between its time and its hash.

        `room` is kept free beside it for an outcome; it is negative for the outcome itself, which
        then finds the room that was kept.

        Raises:
            JournalUnavailable: it was not written, nor any part of it.
        """
        # An outcome stays clear of all else that takes room: what was kept for it is enough for it alone.
        if room >= 0 and (self._size >= self._rotate_at or self._roots):
            self._maintain(time_us, len(rest) + room)
        sequence = self.next
        body = f'{self._prefix}{sequence},"time":{time_us}{rest}'
        chain = sha256(f"{self._chain}{body}".encode()).hexdigest()
        line = f'{body},"hash":"{chain}"}}\n'.encode()
        size = self._size + len(line)
        if size + room > self._free:
            self._extend(size + self.owed + room)
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise JournalUnavailable(f"the journal cannot be written: {error.strerror}") from error
        if written != len(line):
            self._undo()
        self._size = size
        self._chain = chain
        self.next = sequence + 1
        if room:
            self.owed += room
            self._free -= room
        if not sequence % _TIP_EVERY:
            self._note_tip()
        return sequence

    def take_unsynced(self) -> tuple[list[int], bool]:
        """Hand over the files that were left and are not durable yet, and whether a file was begun.

        Whoever takes them closes them.
        """
        taken = self._retired, self._fresh
        self._retired, self._fresh = [], False
        return taken

    @property
    def descriptor(self) -> int:
        """The file written to now."""
        return self._fd

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._directory

    def seal(self) -> tuple[str, str]:
        """Give the chain's hash and the keyed mark on it and on the number that comes next."""
        chain = self._chain
        return chain, form.seal(self._key, self._writer, self.next, chain)

    def settle(self, time_us: int) -> None:
        """Wait for the roots being computed and write them; no new file is begun any more."""
        self._rotate_at = 1 << 62
        while self._roots:
            self._roots[0][2].exception()
            self._write_root(time_us)

    def close(self) -> None:
        """Make everything durable, give back the room and let others write."""
        self._threads.shutdown()
        try:
            if self._fd >= 0:
                self._note_tip()
                if self._room is not None and self.failure is None:
                    self._room.trim(self._size)
                os.fdatasync(self._fd)
        except OSError as error:
            raise JournalUnavailable(f"the journal could not be closed: {error.strerror}") from error
        finally:
            for fd in (*self._retired, self._fd, self._tip):
                if fd >= 0:
                    os.close(fd)
            self._fd = self._tip = -1
            self.fail(self.failure or "the journal is closed")

    def make_room(self, size: int) -> None:
        """Have room for so many further bytes, as far as it is not there yet.

        Raises:
            JournalUnavailable: there is none.
        """
        if self._size + size > self._free:
            self._extend(self._size + self.owed + size)

    def _extend(self, needed: int) -> None:
        if self.failure is not None or self._room is None:
            raise JournalUnavailable(self.failure or "the journal is closed")
        self._room.extend(self._size, needed)
        self._free = self._room.end - self.owed

    def fail(self, reason: str) -> None:
        """Take nothing more: what was written cannot be relied on."""
        self.failure = reason
        self._free = -1
        self._rotate_at = 1 << 62

    def _undo(self) -> None:
        """Take back half a line."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            self.fail(f"half a record could not be taken back: {error.strerror}")
        if self._room is not None and self.failure is None:
            self._room.end = self._size  # The cut gave the room back too.
            self._free = self._size - self.owed
            if self.owed:
                self._extend(self._size + self.owed)
        raise JournalUnavailable("the journal cannot take a record: its disk is full")

    def _note_tip(self) -> None:
        try:
            os.pwrite(self._tip, b"%020d\n" % (self.next - 1), 0)
        except OSError:
            # It is behind then, which only makes a cut that follows harder to see.
            pass

    def _rotate(self, time_us: int, needed: int) -> None:
        """Go on in a new file; where that cannot be had, in the old one."""
        path = segment_path(self._directory, self._writer, self.next)
        fresh = path.with_suffix(".new")
        fd = -1
        try:
            fd = os.open(fresh, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            head, chain = self._head(time_us)
            room = Room(fd, 0)
            room.extend(0, len(head) + self.owed + needed + form.TAIL + 4096)
            if os.write(fd, head) != len(head):
                raise JournalUnavailable("its disk is full")
            if path.exists():
                raise JournalUnavailable(f"{path.name} is there already")
            os.rename(fresh, path)
        except (OSError, JournalUnavailable):
            self._rotate_at = self._size + _RETRY
            if fd >= 0:
                os.close(fd)
                fresh.unlink(missing_ok=True)
            return
        self._leave()
        self._fd, self._room, self._size = fd, room, len(head)
        self._free = room.end - self.owed
        self._first, self._chain, self.next = self.next, chain, self.next + 1
        self._rotate_at = max(self._segment_size, 2 * len(head))
        self._fresh = True
        self._note_tip()

    def _head(self, time_us: int) -> tuple[bytes, str]:
        chain, mark = self.seal()
        count = self.next - self._first if self._first else 0
        opened = ",".join(f"[{seq},{call},{tenant}]" for seq, (call, tenant, _) in self.open.items())
        missing = [(first, counted) for first, counted, _ in self._roots]
        if count:
            missing.append((self._first, count))
        rootless = ",".join(f"[{first},{counted}]" for first, counted in missing)
        body = (
            f'{self._prefix}{self.next},"time":{time_us},"tenant":"","kind":"segment","part":"head",'
            f'"previous":{self._first},"count":{count},"chain":"{chain}",'
            f'"open":[{opened}],"rootless":[{rootless}],"seal":"{mark}"'
        )
        link = form.link(self._chain, body)
        return f'{body},"hash":"{link}"}}\n'.encode(), link

    def _leave(self) -> None:
        """Be done with the file written so far."""
        if self._fd < 0:
            return
        if self._sync:
            self._retired.append(self._fd)
        else:
            os.close(self._fd)
        self._compute_root(self._first, self.next - self._first, self._size)

    def _compute_root(self, first: int, count: int, size: int | None = None) -> None:
        path = segment_path(self._directory, self._writer, first)
        self._roots.append((first, count, self._threads.submit(_finish, path, count, size)))

    def _maintain(self, time_us: int, needed: int) -> None:
        if self._roots and self._roots[0][2].done():
            self._write_root(time_us)
        if self._size >= self._rotate_at:
            self._rotate(time_us, needed)

    def _write_root(self, time_us: int) -> None:
        root = self._roots.popleft()
        first, count, job = root
        error = job.exception()
        if error is None:
            said = f'"first":{first},"count":{count},"root":"{job.result()}"'
            try:
                self.append(time_us, f',"tenant":"","kind":"segment","part":"root",{said}')
            except JournalUnavailable:
                self._roots.appendleft(root)
                raise
        elif not isinstance(error, JournalUnavailable):
            raise error


def _finish(path: Path, count: int, size: int | None) -> str:
    """Give back the room beyond a file that was left, and give its root."""
    if size is not None:
        try:
            os.truncate(path, size)
        except OSError:
            pass  # The room stays taken until the file is removed; nothing is lost.
    return root_of(path, count)


def _take_lock(path: Path, writer: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalUnavailable(f"the journal cannot be opened: {error}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_size < TIP_DIGITS:
            os.pwrite(fd, b"%020d\n" % 0, 0)
    except BlockingIOError as error:
        os.close(fd)
        raise JournalUnavailable(
            f"the journal of {writer!r} in {path.parent} is in use by another process"
        ) from error
    except OSError as error:
        os.close(fd)
        raise JournalUnavailable(f"the journal cannot be opened: {error.strerror}") from error
    return fd
