"""Host: what of this machine every sandbox is given, and nothing else of it.

The programs and libraries of /usr, and of /etc only the few files that they cannot do without. Who is
who inside is made up: the sandbox's own user.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tidegate.extensions.runtimes.process.launcher.job import Bind

_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ALWAYS = ("/etc/ld.so.cache",)
_FOR_NETWORK = ("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki/tls/certs",
                "/etc/pki/ca-trust/extracted", "/etc/services", "/etc/protocols")  # fmt: skip
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nservices: files\n"
_HOSTS = "127.0.0.1 localhost sandbox\n::1 localhost\n"


@dataclass(frozen=True, slots=True)
class User:
    """Whom a server runs as."""

    uid: int
    gid: int


def remapped(user: User, *, network: bool, made: Path) -> tuple[list[Bind], list[tuple[str, str]]]:
    """Give the binds and symlinks for a sandbox with a file system of its own.

    Made-up files of /etc are written below `made`.
    """
    binds = [Bind("/usr", "/usr")]
    symlinks: list[tuple[str, str]] = []
    for name in _TOP:
        path = f"/{name}"
        if os.path.islink(path):
            symlinks.append((os.readlink(path), path))
        elif os.path.isdir(path):
            binds.append(Bind(path, path))
    binds += _etc(user, made)
    binds += [Bind(path, path) for path in _ALWAYS if os.path.exists(path)]
    if network:
        binds += [Bind(os.path.realpath(path), path) for path in _FOR_NETWORK if os.path.exists(path)]
        binds += [
            Bind(os.path.realpath(path), path) for path in ("/etc/resolv.conf",) if os.path.exists(path)
        ]
    zone = os.path.realpath("/etc/localtime")
    if zone.startswith("/usr/") and os.path.exists(zone):
        symlinks.append((zone, "/etc/localtime"))
    elif os.path.exists(zone):
        binds.append(Bind(zone, "/etc/localtime"))
    return binds, symlinks


def in_place(*, network: bool) -> list[Bind]:
    """Give what may be read by a server that keeps the host's own file system in view."""
    # Node.js ends where it finds OpenSSL's settings and may not read them.
    files = [*_ALWAYS, "/etc/nsswitch.conf", "/etc/hosts", "/etc/localtime", "/etc/ssl/openssl.cnf"]
    if network:
        files += [*_FOR_NETWORK, "/etc/resolv.conf"]
    return list(_existing(["/usr", *(f"/{name}" for name in _TOP), *files]))


def _existing(paths: list[str]) -> Iterator[Bind]:
    seen: set[str] = set()
    for path in paths:
        real = os.path.realpath(path)
        if os.path.exists(real) and real not in seen:
            seen.add(real)
            yield Bind(real, real)


def _etc(user: User, made: Path) -> Iterator[Bind]:
    texts = {
        "passwd": f"server:x:{user.uid}:{user.gid}:server:/tmp:/usr/sbin/nologin\n",
        "group": f"server:x:{user.gid}:\n",
        "hosts": _HOSTS,
        "nsswitch.conf": _NSSWITCH,
    }
    place = made / f"etc-{user.uid}-{user.gid}"
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in texts.items():
        file = place / name
        if not file.is_file() or file.read_text(encoding="ascii") != text:
            fresh = place / f".{name}"
            fresh.write_text(text, encoding="ascii")
            fresh.chmod(0o644)
            fresh.rename(file)
        yield Bind(str(file), f"/etc/{name}")
