"""Job: what the launcher is asked to do. Written by the gateway, read by the launcher."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bind:
    """A host path at a place of the sandbox."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Job:
    """One server to be started."""

    rung: str
    """`bubblewrap`, `namespaces`, `landlock` or `none`."""
    argv: list[str]
    """Absolute, as seen inside."""
    env: dict[str, str]
    """All of its environment."""
    cwd: str
    uid: int
    gid: int
    groups: list[str]
    """Files of cgroups that take a process id."""
    rlimits: dict[str, int]
    """`RLIMIT_…` to its value."""
    binds: list[Bind]
    symlinks: list[tuple[str, str]]
    """(what it points to, where it is)."""
    tmp: int
    """Bytes."""
    network: bool
    """Whether it shares the host's network."""
    seccomp: bytes
    """`struct sock_filter[]`."""
    bwrap: list[str]
    """bubblewrap's whole argv, for its rung."""
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    """Files below /run/secrets, by their names."""

    @property
    def secret_bytes(self) -> int:
        """Size of a tmpfs that holds them."""
        return sum(-(-len(text.encode()) // 4096) * 4096 for text in self.secrets.values()) + 65536


def write_job(job: Job) -> bytes:
    """Give what `read_job` reads."""
    told = asdict(job)
    told["seccomp"] = base64.b64encode(job.seccomp).decode()
    return json.dumps(told).encode()


def read_job(descriptor: int) -> Job:
    """Read a job from an open file to its end, and close it."""
    with os.fdopen(descriptor, "rb") as opened:
        told: dict[str, Any] = json.loads(opened.read())
    told["binds"] = [Bind(**bind) for bind in told["binds"]]
    told["symlinks"] = [(to, at) for to, at in told["symlinks"]]
    told["seccomp"] = base64.b64decode(told["seccomp"])
    return Job(**told)
