"""Walk: counts what is on the disk below a directory, a piece at a time, so that a large one does not hold up others.

Whoever writes there may do so meanwhile, and mean ill: each directory is opened in the one above it, which no link
leads out of and no depth makes too long to be named; and each file costs a block, since to look at it costs time.
Blocking; who calls puts it into a thread.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Protocol

_LEAST = 4096
"""Bytes that each file counts for: empty ones would be free, and take the time of whoever counts."""
_DEEPEST, _ENDLESS = 256, 1 << 62
"""Directories in one another, and what they count for where there are more."""
_ENTRIES = 64
"""Looked at between two looks at the clock."""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What is said of what was removed, or exchanged, since its name was read."""


class Entries(Protocol):
    """A directory that is being read."""

    def __next__(self) -> os.DirEntry[str]: ...

    def close(self) -> None:
        """Read it no more."""


class Walk:
    """One count. `close` it, done or not."""

    def __init__(self, place: str) -> None:
        self.held: int | None = 0
        """Bytes that were found so far; None where they cannot be counted here."""
        self._place = place
        self._down: list[tuple[int, Entries]] = []
        self._linked: set[tuple[int, int]] = set()
        self._begun = False

    def on(self, seconds: float) -> bool:
        """Count on for about so long. Tell whether it is done."""
        until = time.monotonic() + seconds
        try:
            if not self._begun:
                self._begin()
            while self._down:
                for _ in range(_ENTRIES):
                    self._one()
                    if not self._down:
                        return True
                if time.monotonic() >= until:
                    return False
        except OSError:
            # Of the disk itself, or of this process: what is not seen may be anything.
            self.held = None
        return True

    def close(self) -> None:
        """Leave nothing open."""
        while self._down:
            self._up()

    def _begin(self) -> None:
        self._begun = True
        # Another user than root would not see into every directory, and count too little.
        if not self._place or os.geteuid() != 0 or not os.access(self._place, os.R_OK | os.X_OK):
            self.held = None
            return
        self._down.append(_opened(self._place, None))

    def _one(self) -> None:
        directory, entries = self._down[-1]
        try:
            entry = next(entries)
        except StopIteration:
            self._up()
            return
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self._up()
            return
        try:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and len(self._down) < _DEEPEST:
                self._down.append(_opened(entry.name, directory))
                counts = 0
            else:
                counts = _ENDLESS if stat.S_ISDIR(status.st_mode) else 0
        except OSError as error:
            if error.errno in _GONE:
                return
            raise
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            if (status.st_dev, status.st_ino) in self._linked:
                return
            self._linked.add((status.st_dev, status.st_ino))
        self.held = (self.held or 0) + counts + max(status.st_blocks * 512, _LEAST)

    def _up(self) -> None:
        directory, entries = self._down.pop()
        entries.close()
        os.close(directory)


def _opened(name: str, above: int | None) -> tuple[int, Entries]:
    directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        return directory, os.scandir(directory)
    except OSError:
        os.close(directory)
        raise
