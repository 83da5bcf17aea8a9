"""Wheel: what an archive must not hold, since it is installed outside any sandbox.

Many versions of pip (24.0, which Python 3.11 and 3.12 bring, among them) join a program's name to the directory
for programs as it is: `../../x` is written wherever the gateway's user may write. Nothing is unpacked here.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure

_ENTRY_POINTS = 1024 * 1024
_UNPACKED = 4 * 1024 * 1024 * 1024
"""Bytes of all files together as the archive says; a zip bomb is mostly larger."""
_MEMBERS = 200_000


def check_wheel(wheel: Path) -> None:
    """See that installing a wheel writes nothing beside its environment.

    Raises:
        RuntimeFailure: it would, or is no archive.
    """
    try:
        with zipfile.ZipFile(wheel) as opened:
            members = opened.infolist()
            if len(members) > _MEMBERS or sum(member.file_size for member in members) > _UNPACKED:
                raise RuntimeFailure(f"{wheel.name} is too large when unpacked")
            for member in members:
                # As it stands in the archive: `filename` ends at a NUL and has its separators turned.
                if not _inside(member.orig_filename):
                    raise RuntimeFailure(
                        f"{wheel.name} has a file outside of itself: {member.filename!r:.120}"
                    )
                if member.filename.lower().endswith("entry_points.txt"):
                    _check_programs(wheel, opened, member)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise RuntimeFailure(f"{wheel.name} cannot be read: {error}") from error


def _inside(name: str) -> bool:
    parts = name.split("/")
    return not name.startswith("/") and ".." not in parts and "\\" not in name and "\0" not in name


def _check_programs(wheel: Path, opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    if member.file_size > _ENTRY_POINTS:
        raise RuntimeFailure(f"{wheel.name} has too many entry points")
    with opened.open(member) as file:
        text = file.read(_ENTRY_POINTS).decode(errors="replace")
    for name in programs(text):
        if not name or name in (".", "..") or "/" in name or "\\" in name or not name.isprintable():
            raise RuntimeFailure(f"{wheel.name} names a program that is a path: {name!r:.120}")


def programs(text: str) -> Iterator[str]:
    """Give the names of programs in an `entry_points.txt`, read as installers do: line by line, without
    continuations, and rather one section too many than one too few.
    """
    within = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            within = "console_scripts" in line or "gui_scripts" in line
        elif within and line and not line.startswith("#"):
            yield line.partition("=")[0].strip()
