"""Room on the disk, taken ahead of what will be written, so that a full disk is met before an effect."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache

from tidegate.domain.errors import JournalUnavailable

CHUNK = 1024 * 1024
"""Bytes taken at once: some thousand records for one system call."""
_GRAIN = 64 * 1024
_KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE: blocks beyond the end of the file, whose size does not change."""
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV})


@cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).fallocate
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    function.restype = ctypes.c_int
    return function


class Room:
    """Room taken for one file that only grows."""

    __slots__ = ("_fd", "_promised", "end")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.end = size
        """Offset up to which a write finds room."""
        self._promised = True

    @property
    def promised(self) -> bool:
        """Whether the file system keeps the room for this file, or only has it free."""
        return self._promised

    def extend(self, size: int, needed: int) -> None:
        """Have room up to `needed`, and some beyond, for a file of `size` bytes.

        Raises:
            JournalUnavailable: the disk does not have it.
        """
        for end in (max(self.end, size) + CHUNK, needed + _GRAIN, needed):
            if end >= needed and self._take(size, end):
                self.end = end
                return
        raise JournalUnavailable("the journal cannot take a record: its disk is full")

    def trim(self, size: int) -> None:
        """Give back what was taken beyond `size`."""
        os.ftruncate(self._fd, size)
        self.end = size

    def _take(self, size: int, end: int) -> bool:
        call = _fallocate() if self._promised else None
        if call is not None:
            if call(self._fd, _KEEP_SIZE, size, end - size) == 0:
                return True
            code = ctypes.get_errno()
            if code in (errno.ENOSPC, errno.EDQUOT):
                return False
            if code == errno.EINTR:
                return self._take(size, end)
            if code not in _UNSUPPORTED:
                raise JournalUnavailable(f"the journal cannot take a record: {os.strerror(code)}")
        # No file system's promise: look whether it is free now, each time a chunk is used up, with a
        # margin for the file system's own blocks. One that tells no size has no end that could be met.
        self._promised = False
        disk = os.fstatvfs(self._fd)
        return not disk.f_blocks or disk.f_bavail * disk.f_frsize >= end - size + _GRAIN
