"""Namespaces: a sandbox of our own, for machines without bubblewrap or where it is not allowed.

As root with plain namespaces, the uid given away last; else with a user namespace. Three processes:
this one waits, an init (pid 1 inside) reaps, and its child becomes the server. When init ends, the
kernel ends everything inside; init ends when this one does.
"""

# ruff: noqa: S108  # these are paths inside the sandbox

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from typing import NoReturn

from . import kernel, stage
from .job import Job

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_NEW = "/tmp"
"""The new root is mounted over it, in a namespace of our own."""
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def run(job: Job, status: int, become: Callable[[Job], NoReturn]) -> NoReturn:
    """Enter the namespaces, start the server by `become` and end as it ends."""
    plain = os.geteuid() == 0
    uid, gid = os.geteuid(), os.getegid()
    flags = kernel.NEWNS | kernel.NEWPID | kernel.NEWIPC | kernel.NEWUTS | kernel.NEWCGROUP
    flags |= 0 if job.network else kernel.NEWNET
    kernel.unshare(flags if plain else flags | kernel.NEWUSER)
    if not plain:
        _map(uid, gid)
    alive, held = os.pipe2(os.O_CLOEXEC)
    init = os.fork()
    if init:
        os.close(status)
        _let_go()
        _end_as(_wait_for(init))
    os.close(held)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([alive], [], [], 0)[0]:  # the one before us ended meanwhile
        os._exit(126)
    _build(job)
    server = os.fork()
    if server:
        os.close(status)
        _let_go()
        _reap(server)
    os.setsid()
    stage.drop_user(job)
    if not plain:
        kernel.drop_bounding_capabilities()
    _check(job)
    become(job)


def _map(uid: int, gid: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as opened:
            opened.write(text)


def _build(job: Job) -> None:
    """Build the new root over /tmp and move into it."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    sources = stage.open_sources(job.binds)
    devices = [os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC) for name in _DEVICES]
    quiet = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", _NEW, "tmpfs", quiet, "mode=0755,size=4m")
    for name in ("proc", "dev", "tmp"):
        os.mkdir(f"{_NEW}/{name}", 0o755)
    kernel.mount("proc", f"{_NEW}/proc", "proc", quiet | kernel.MS_NOEXEC)
    kernel.mount("tmpfs", f"{_NEW}/tmp", "tmpfs", quiet, f"mode=1777,size={job.tmp}")
    _make_dev(devices, job.tmp)
    for bind, source in zip(job.binds, sources, strict=True):
        stage.put(source, _NEW + bind.target, writable=bind.writable)
    if job.secrets:
        _make_secrets(job)
    for to, at in job.symlinks:
        os.makedirs(os.path.dirname(_NEW + at), mode=0o755, exist_ok=True)
        os.symlink(to, _NEW + at)
    os.chdir(_NEW)
    kernel.become_root_directory()
    kernel.protect("/dev", kernel.MS_RDONLY, deep=False)
    kernel.protect("/", kernel.MS_RDONLY, deep=False)
    socket.sethostname("sandbox")
    if not job.network:
        _raise_loopback()


def _make_secrets(job: Job) -> None:
    """Put the secret files on a tmpfs of their own, for the server's user alone."""
    place = f"{_NEW}/run/secrets"
    os.makedirs(place, mode=0o755, exist_ok=True)
    quiet = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("tmpfs", place, "tmpfs", quiet, f"mode=0755,size={job.secret_bytes}")
    for name, text in job.secrets.items():
        with open(os.open(f"{place}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o400), "wb") as file:
            file.write(text.encode())
        if job.uid != os.geteuid():
            os.chown(f"{place}/{name}", job.uid, job.gid)
    kernel.protect(place, kernel.MS_RDONLY, deep=False)


def _make_dev(devices: list[int], size: int) -> None:
    kernel.mount("tmpfs", f"{_NEW}/dev", "tmpfs", kernel.MS_NOSUID | kernel.MS_NOEXEC, "mode=0755,size=64k")
    for name, source in zip(_DEVICES, devices, strict=True):
        os.close(os.open(f"{_NEW}/dev/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        kernel.mount(f"/proc/self/fd/{source}", f"{_NEW}/dev/{name}", None, kernel.MS_BIND)
        os.close(source)
    os.symlink("/proc/self/fd", f"{_NEW}/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{_NEW}/dev/{name}")
    os.mkdir(f"{_NEW}/dev/shm", 0o755)
    quiet = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", f"{_NEW}/dev/shm", "tmpfs", quiet, f"mode=1777,size={size}")


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        asked = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(opened, _SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(opened, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def _check(job: Job) -> None:
    for bind in job.binds:
        if not os.access(bind.target, os.R_OK):
            raise PermissionError(
                13, f"cannot be read by uid {os.getuid()}, as which the server runs", bind.source
            )
        if bind.writable and not os.access(bind.target, os.W_OK):
            raise PermissionError(
                13, f"cannot be written by uid {os.getuid()}, as which the server runs", bind.source
            )


def _let_go() -> None:
    """Hold none of the server's pipes open, so that their ends are the server's own."""
    nothing = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)


def _wait_for(child: int) -> int:
    # SIGTERM is for the server, which the gateway signals itself.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return os.waitpid(child, 0)[1]


def _reap(server: int) -> NoReturn:
    """Be init: collect what ends, and end when the server does."""
    while True:
        ended, how = os.wait()
        if ended == server:
            number = os.WTERMSIG(how) if os.WIFSIGNALED(how) else 0
            # Init is not killed by its own signals, so a signal is told as a status, like a shell does.
            os._exit(128 + number if number else os.WEXITSTATUS(how))


def _end_as(how: int) -> NoReturn:
    if os.WIFSIGNALED(how):
        os._exit(128 + os.WTERMSIG(how))
    os._exit(os.WEXITSTATUS(how))
