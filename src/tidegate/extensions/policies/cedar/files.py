"""Files: where policies stand. Reads them, whole and within bounds; understands nothing."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from tidegate.domain.errors import SettingsError

LARGEST = 4 * 1024 * 1024
"""Bytes of all files together."""
MOST = 500


class Files:
    """The files that patterns name. What they name may change with time."""

    def __init__(self, patterns: Sequence[Path]) -> None:
        self._patterns = tuple(patterns)

    def read(self) -> Mapping[str, str]:
        """Give the text of each, by the name that people know it by: its own, with as much before as it needs.

        Raises:
            SettingsError: there is none, or one cannot be read.
        """
        paths = self._paths()
        left = LARGEST
        found: dict[str, str] = {}
        for path, name in zip(paths, _names(paths), strict=True):
            text = _read(path, left)
            left -= len(text)
            found[name] = _text(path, text)
        return found

    def stamp(self) -> object:
        """Tell the files, as they stand, from what they were."""
        stamps: list[tuple[object, ...]] = []
        for pattern in self._patterns:
            for path in sorted(glob.glob(str(pattern))):
                try:
                    found = os.stat(path)
                except OSError:
                    stamps.append((path,))  # it is being replaced
                    continue
                stamps.append((path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
        return tuple(stamps)

    def _paths(self) -> Sequence[Path]:
        found: dict[Path, None] = {}
        for pattern in self._patterns:
            here = sorted(glob.glob(str(pattern)))
            if not here:
                # A pattern that fits nothing is a mistake: what denies would be gone without a word.
                raise SettingsError(f"{pattern}: there is no such file")
            found.update(dict.fromkeys(Path(path) for path in here))
        if len(found) > MOST:
            raise SettingsError(f"there are more than {MOST} policy files")
        return list(found)


def _names(paths: Sequence[Path]) -> Sequence[str]:
    """Give the shortest ends of paths that tell them apart."""
    length = 1
    while True:
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names) or length > max(len(path.parts) for path in paths):
            return names
        length += 1


def _read(path: Path, most: int) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise SettingsError(f"{path}: is no file")
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > most:
        raise SettingsError(f"{path}: policy files may have {LARGEST} bytes together")
    return data


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path}:{line}: is not text (UTF-8)") from None
