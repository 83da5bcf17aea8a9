"""Mounts: what a server may be given of the host's files, and what never."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Mount
from tidegate.extensions.runtimes.process.launcher.job import Bind

SERVER = "/opt/server"
"""Where a package's environment is inside."""
NODE = "/opt/node"
"""Where Node.js is inside, if the host's is not below /usr."""
_NEVER = ("/proc", "/sys", "/dev", "/etc", "/run", "/boot", "/var/run", "/var/lib/docker",
          "/var/lib/containerd")  # fmt: skip
_KEPT = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/proc",
    "/sys",
    "/dev",
    SERVER,
    NODE,
)


def binds(mounts: Sequence[Mount], state: Path) -> list[Bind]:
    """Give the binds for declared mounts.

    Raises:
        RuntimeFailure: one of them would give a server the host, or something that is not there.
    """
    return [Bind(_source(mount, state), _target(mount), mount.writable) for mount in mounts]


def _source(mount: Mount, state: Path) -> str:
    real = os.path.realpath(mount.source)
    named = f"mount {mount.source}"
    if real == "/":
        raise RuntimeFailure(f"{named} is refused: it is the whole host")
    for never in _NEVER:
        for place in {never, os.path.realpath(never)}:
            if within(real, place) or within(place, real):
                raise RuntimeFailure(f"{named} is refused: {never} would give a server power over the host")
    kept = os.path.realpath(state)
    if within(real, kept) or within(kept, real):
        raise RuntimeFailure(f"{named} is refused: the gateway's state directory is in it, or it in that")
    try:
        status = os.stat(real)
    except OSError as error:
        raise RuntimeFailure(f"{named} cannot be used: {error.strerror}") from error
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        raise RuntimeFailure(f"{named} is refused: it is neither a directory nor a plain file")
    return real


def _target(mount: Mount) -> str:
    target = mount.target
    if (
        not target.startswith("/")
        or target.startswith("//")
        or os.path.normpath(target) != target
        or target in ("/", "/tmp")  # noqa: S108
    ):
        raise RuntimeFailure(f"mount target {target} is refused: it is no absolute, plain path of its own")
    for kept in _KEPT:
        if within(target, kept) or within(kept, target):
            raise RuntimeFailure(f"mount target {target} is refused: {kept} is the sandbox's own")
    return target


def within(path: str, place: str) -> bool:
    """Whether `path` is `place` or below it."""
    return path == place or path.startswith(place.rstrip("/") + "/")
