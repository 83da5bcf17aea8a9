"""Landlock: what is left where no namespace may be made.

The server keeps the host's paths, process ids and user; it can read and run what it is bound, write
where declared and in its own temporary directory, and, by the filter of system calls, opens no socket
but those of the network it was given. What this does not do is said in `docs/processes.md`.
"""

from __future__ import annotations

import os
import stat
import struct

from . import kernel, stage
from .job import Job

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_LOOK = _EXECUTE | _READ_FILE | _READ_DIR
_FOR_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_SCOPES = 3
"""Abstract Unix sockets and signals beyond the sandbox."""


def _handled(abi: int) -> int:
    """Give every right on files that this version of Landlock knows (landlock(7))."""
    known = 13 + (abi >= 2) + (abi >= 3) + (abi >= 5)
    return (1 << known) - 1


def restrict(job: Job) -> None:
    """Restrict this process to what the job binds."""
    abi = kernel.landlock_abi()
    if abi < 1:
        raise OSError(95, "the kernel has no Landlock")
    handled = _handled(abi)
    attributes = struct.pack("=QQQ", handled, 0, _SCOPES if abi >= 6 else 0)
    ruleset = kernel.landlock_create(attributes if abi >= 6 else attributes[: 16 if abi >= 4 else 8])
    stage.check(job, staged=False)
    for bind in job.binds:
        place = kernel.open_without_links(bind.source)
        _allow(ruleset, place, handled if bind.writable else _LOOK)
    for device in _DEVICES:
        place = os.open(device, os.O_PATH | os.O_CLOEXEC)
        _allow(ruleset, place, (_READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV) & handled)
    itself = os.open("/proc/self", os.O_PATH | os.O_CLOEXEC)
    _allow(ruleset, itself, _READ_FILE | _READ_DIR)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.landlock_restrict(ruleset)
    os.close(ruleset)


def _allow(ruleset: int, place: int, rights: int) -> None:
    whole = stat.S_ISDIR(os.fstat(place).st_mode)
    kernel.landlock_allow(ruleset, rights if whole else rights & _FOR_FILES, place)
    os.close(place)
