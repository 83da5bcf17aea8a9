"""Context: the tar that a build is given. Owners and times are fixed, so that equal parts make equal images.

Everything in a Dockerfile here is in exec form and made of JSON, so that no shell reads anybody's words.
"""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path


class Context:
    """A build context that is being written to a file. Blocking; used in a thread."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115  # closed by __exit__

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def dockerfile(self, lines: Iterable[str]) -> None:
        """Add the Dockerfile."""
        self.text("Dockerfile", "\n".join(lines) + "\n")

    def text(self, name: str, text: str) -> None:
        """Add a small file."""
        data = text.encode()
        entry = _entry(name, 0o644)
        entry.size = len(data)
        self._tar.addfile(entry, io.BytesIO(data))

    def directory(self, name: str) -> None:
        """Add an empty directory."""
        entry = _entry(name, 0o755)
        entry.type = tarfile.DIRTYPE
        self._tar.addfile(entry)

    def file(self, name: str, source: Path, mode: int = 0o644) -> None:
        """Add a file of this machine."""
        entry = _entry(name, mode)
        entry.size = source.stat().st_size
        with source.open("rb") as opened:
            self._tar.addfile(entry, opened)

    def tree(self, name: str, source: Path) -> None:
        """Add a directory with its files, directories and links; anything else in it is left out."""
        self.directory(name)
        for parent, directories, files in os.walk(source):
            directories.sort()
            for each in sorted([*directories, *files]):
                path = Path(parent, each)
                self._one(f"{name}/{path.relative_to(source)}", path)

    def _one(self, name: str, path: Path) -> None:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            entry = _entry(name, 0o777)
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
            self._tar.addfile(entry)
        elif stat.S_ISDIR(status.st_mode):
            self.directory(name)
        elif stat.S_ISREG(status.st_mode):
            self.file(name, path, 0o755 if status.st_mode & 0o100 else 0o644)


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime, entry.uid, entry.gid = mode, 0, 0, 0
    return entry


def pack_root(root: Path, target: Path, emptied: Sequence[str]) -> None:
    """Write a root file system as a tar: without what is below `emptied`, and nothing setuid or setgid."""

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        inside = entry.name.removeprefix("./")
        if any(inside.startswith(f"{place}/") for place in emptied):
            return None
        entry.mode &= ~(stat.S_ISUID | stat.S_ISGID)
        entry.mtime, entry.uname, entry.gname = 0, "", ""
        return None if entry.isdev() else entry

    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(root, ".", filter=kept)


def run(*argv: str) -> str:
    """Give a RUN line that no shell reads."""
    return f"RUN {json.dumps(argv)}"


def entrypoint(*argv: str) -> str:
    """Give an ENTRYPOINT line that no shell reads."""
    return f"ENTRYPOINT {json.dumps(argv)}"
