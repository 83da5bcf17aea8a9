"""Stage: as root, before the uid is given away, put what is bound where that uid can reach it.

The state directory is closed to everybody else, so the user that a server runs as could not get to
its own environment. A private mount namespace gets a tmpfs at /tmp with each bound path at /tmp/N;
whatever may read the path itself still decides whether the server can.
"""

from __future__ import annotations

import os
import stat

from . import kernel
from .job import Bind, Job

STAGE = "/tmp"  # noqa: S108  # a mount of our own over it, in a namespace of our own


def stage(job: Job) -> None:
    """Bind every source to its number below the stage."""
    kernel.unshare(kernel.NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    sources = open_sources(job.binds)
    kernel.mount("tmpfs", STAGE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755,size=1m")
    for number, (bind, source) in enumerate(zip(job.binds, sources, strict=True)):
        put(source, f"{STAGE}/{number}", writable=bind.writable)


def open_sources(binds: list[Bind]) -> list[int]:
    """Open every source, so that mounts made later cannot hide it.

    The gateway has resolved and judged each; a link that came since, say from a server that may write
    to a directory above, is refused.
    """
    return [kernel.open_without_links(bind.source) for bind in binds]


def put(source: int, target: str, *, writable: bool) -> None:
    """Bind an open path to `target`, which is made, and close it."""
    if stat.S_ISDIR(os.fstat(source).st_mode):
        os.makedirs(target, mode=0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    kernel.mount(f"/proc/self/fd/{source}", target, None, kernel.MS_BIND | kernel.MS_REC)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | (0 if writable else kernel.MS_RDONLY)
    kernel.protect(target, flags, deep=True)
    os.close(source)


def drop_user(job: Job) -> None:
    """Become the user the server runs as, for good."""
    if os.geteuid() == 0 and job.uid != 0:
        kernel.drop_bounding_capabilities()
        os.setgroups([])
        os.setresgid(job.gid, job.gid, job.gid)
        os.setresuid(job.uid, job.uid, job.uid)
        # Changing the uid clears the tie to the parent's life; see prctl(2).
        kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)


def check(job: Job, *, staged: bool) -> None:
    """See that the user can read, and where declared write, what it is given."""
    for number, bind in enumerate(job.binds):
        path = f"{STAGE}/{number}" if staged else bind.source
        need = os.R_OK | (os.X_OK if os.path.isdir(path) else 0)
        if not os.access(path, need):
            raise PermissionError(
                13, f"cannot be read by uid {os.getuid()}, as which the server runs", bind.source
            )
        if bind.writable and not os.access(path, os.W_OK):
            raise PermissionError(
                13, f"cannot be written by uid {os.getuid()}, as which the server runs", bind.source
            )
