"""Main: from a job to the running server, by the rung that was chosen."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from . import kernel, landlock, namespaces, reaper, stage
from .job import Job, read_job

SECCOMP_FD = 9
"""Where bubblewrap finds the filter; its argv names it."""
SECRETS_FD = 10
"""Where it finds the secret files, one after the other."""
_STATUS_AT_LEAST = 200
_SECRETS_AT_LEAST = 400


def main(job_fd: int, status_fd: int, parent: int) -> NoReturn:
    """Do the job. Nothing comes back on `status_fd` where it worked, else one line."""
    _close_others({0, 1, 2, job_fd, status_fd})
    status = fcntl.fcntl(status_fd, fcntl.F_DUPFD_CLOEXEC, _STATUS_AT_LEAST)
    os.close(status_fd)
    try:
        job = read_job(job_fd)
        _tie(parent)
        _join(job)
        if job.rung == "bubblewrap":
            _by_bubblewrap(job)
        elif job.rung == "namespaces":
            namespaces.run(job, status, become)
        else:
            reaper.run(job, status, _restricted if job.rung == "landlock" else _bare, parent)
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        named = error.filename if isinstance(error, OSError) and error.filename else None
        os.write(status, (f"{named}: {text}" if named else text).encode()[:1000])
    sys.exit(126)


def _close_others(kept: set[int]) -> None:
    """Close what the gateway may have left open across the start: another server's pipes, a listener."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with suppress(OSError):  # the one that listed the directory is closed by now
                os.close(int(name))


def _tie(parent: int) -> None:
    """See that we end when the gateway does."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(126)


def _join(job: Job) -> None:
    for group in job.groups:
        with open(group, "w") as opened:
            opened.write(str(os.getpid()))


def _restricted(job: Job) -> NoReturn:
    stage.drop_user(job)
    landlock.restrict(job)
    become(job)


def _bare(job: Job) -> NoReturn:
    stage.drop_user(job)
    limit(job)
    os.chdir(job.cwd)
    _execute(job.argv, job.env)


def _by_bubblewrap(job: Job) -> NoReturn:
    staged = job.uid != os.geteuid()
    if staged:
        stage.stage(job)
    stage.drop_user(job)
    stage.check(job, staged=staged)
    code = os.memfd_create("seccomp")
    os.write(code, job.seccomp)
    os.lseek(code, 0, os.SEEK_SET)
    if code != SECCOMP_FD:
        os.dup2(code, SECCOMP_FD)
        os.close(code)
    os.set_inheritable(SECCOMP_FD, True)
    _leave_secrets(job)
    # A limit on processes would count all of this user's, so the sandbox sets that one inside.
    limit(job, without=("RLIMIT_NPROC",))
    _execute(job.bwrap, job.env)


def _leave_secrets(job: Job) -> None:
    """Open each secret as a file in memory, first out of the way of the places where they are to be."""
    opened: list[int] = []
    for text in job.secrets.values():
        made = os.memfd_create("secret")
        with os.fdopen(os.dup(made), "wb") as file:
            file.write(text.encode())
        os.lseek(made, 0, os.SEEK_SET)
        opened.append(fcntl.fcntl(made, fcntl.F_DUPFD_CLOEXEC, _SECRETS_AT_LEAST))
        os.close(made)
    for number, descriptor in enumerate(opened):
        os.dup2(descriptor, SECRETS_FD + number, inheritable=True)


def limit(job: Job, without: tuple[str, ...] = ()) -> None:
    """Set the resource limits, never above what is allowed already."""
    for name, value in job.rlimits.items():
        if name not in without:
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (bound, bound))


def become(job: Job) -> NoReturn:
    """Turn into the server, with what is last: limits, no new privileges, the filter."""
    limit(job)
    os.chdir(job.cwd)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.load_seccomp(job.seccomp)
    _execute(job.argv, job.env)


def _execute(argv: list[str], env: dict[str, str]) -> NoReturn:
    # Python ignores these; a server must not inherit that.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execve(argv[0], argv, env)  # noqa: S606  # a shell is what must not be here
