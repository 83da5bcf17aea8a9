"""Bwrap: a job as the argv of bubblewrap. Pure, so that a test can read what a sandbox is made of."""

# ruff: noqa: S108  # these are paths inside the sandbox

from __future__ import annotations

from collections.abc import Iterator

from tidegate.extensions.runtimes.process.launcher.job import Bind, Job

SECCOMP_FD = 9
"""Where the launcher leaves the filter; `launcher.main` knows the same number."""
SECRETS_FD = 10
"""The first of those where it leaves the secret files, one after the other."""
SECRETS = "/run/secrets"
STAGE = "/tmp"
"""The launcher mounts its own over it, see `launcher.stage`."""


def bwrap_argv(program: str, job: Job, *, staged: bool) -> list[str]:
    """Give the argv that runs `job` by the bubblewrap at `program`.

    `staged`: the launcher bound each source to its number below the stage, since the user who runs
    bubblewrap could not reach it. No value of a variable is here: others can read a process's argv.
    """
    return [
        program,
        "--unshare-all",
        *(["--share-net"] if job.network else []),
        "--hostname", "sandbox",
        "--new-session",
        "--die-with-parent",
        "--cap-drop", "ALL",
        "--proc", "/proc",
        "--dev", "/dev",
        "--perms", "1777", "--size", str(job.tmp), "--tmpfs", "/dev/shm",
        "--remount-ro", "/dev",
        "--perms", "1777", "--size", str(job.tmp), "--tmpfs", "/tmp",
        "--perms", "0755", "--dir", "/etc",
        *_binds(job.binds, staged=staged),
        *_secrets(job),
        *(word for to, at in job.symlinks for word in ("--symlink", to, at)),
        # bubblewrap's root is a writable tmpfs without a bound; all that is mounted on it stays as it is.
        "--remount-ro", "/",
        "--chdir", job.cwd,
        "--seccomp", str(SECCOMP_FD),
        "--",
        *job.argv,
    ]  # fmt: skip


def _secrets(job: Job) -> Iterator[str]:
    """Put the secret files on a tmpfs of their own. bubblewrap reads them where the launcher left them."""
    if not job.secrets:
        return
    yield from ("--perms", "0755", "--size", str(job.secret_bytes), "--tmpfs", SECRETS)
    for number, name in enumerate(job.secrets):
        yield from ("--perms", "0400", "--file", str(SECRETS_FD + number), f"{SECRETS}/{name}")
    yield from ("--remount-ro", SECRETS)


def _binds(binds: list[Bind], *, staged: bool) -> Iterator[str]:
    for number, bind in enumerate(binds):
        yield "--bind" if bind.writable else "--ro-bind"
        yield f"{STAGE}/{number}" if staged else bind.source
        yield bind.target
