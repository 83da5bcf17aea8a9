"""Versions: the texts that a gateway's settings had, the last of them in force.

Kept in the state directory, readable by its owner alone, as the files stood: what they refer to is not in them.
Knows nothing of what a text means.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

from tidegate.domain.errors import SettingsError, StateError

KEPT = 20
"""Versions that are kept; the oldest go."""
_LARGEST = 8 * 1024 * 1024
"""Bytes of a version's file: a settings file has at most 1 MiB, and a character at most six as JSON."""


@dataclass(frozen=True, slots=True)
class Version:
    """One text, and how it came into force."""

    number: int
    time: float
    """Unix seconds."""
    who: str
    """What had it read: `start`, `file`, `signal`, `control`, `admin`, `rollback to 3`."""
    file: str
    digest: str
    """Of the text."""
    text: str = field(repr=False)
    changes: Mapping[str, Sequence[str]] = field(default_factory=dict[str, "Sequence[str]"])
    """Names of what was added, removed and changed with it."""
    over: str | None = None
    """Digest of the file's own text, where this one is in force in its place."""


def digest_of(text: str) -> str:
    """Give 16 hex digits that tell texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Versions:
    """The versions of one state directory."""

    def __init__(self, state: Path) -> None:
        self.directory = state / "versions"

    def all(self) -> list[Version]:
        """Give every version, the one in force last.

        Raises:
            StateError: they cannot be read.
        """
        return [self._read(number) for number in self._numbers()]

    def active(self) -> Version | None:
        """Give the one in force, or the last that was; None where there was none.

        Raises:
            StateError: it cannot be read.
        """
        numbers = self._numbers()
        return self._read(numbers[-1]) if numbers else None

    def get(self, number: int) -> Version:
        """Give one.

        Raises:
            SettingsError: it is not kept.
            StateError: it cannot be read.
        """
        numbers = self._numbers()
        if number not in numbers:
            kept = f"{numbers[0]} to {numbers[-1]}" if numbers else "none"
            raise SettingsError(f"there is no version {number} of the settings (kept: {kept})")
        return self._read(number)

    def add(
        self,
        text: str,
        who: str,
        file: Path,
        changes: Mapping[str, Sequence[str]],
        *,
        over: str | None = None,
    ) -> Version:
        """Keep a text as the one in force, and let go of the oldest.

        Raises:
            StateError: it cannot be kept.
        """
        numbers = self._numbers()
        number = numbers[-1] + 1 if numbers else 1
        version = Version(number, time.time(), who, str(file), digest_of(text), text, changes, over)
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(number, json.dumps(asdict(version)).encode())
            for old in numbers[: max(0, len(numbers) + 1 - KEPT)]:
                self._path(old).unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f"{self.directory} cannot be written: {error.strerror or error}") from error
        return version

    def drop(self, number: int) -> None:
        """Keep a version no more that did not come into force."""
        self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:06d}.json"

    def _numbers(self) -> list[int]:
        try:
            stems = [path.stem for path in self.directory.iterdir() if path.suffix == ".json"]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(f"{self.directory} cannot be read: {error.strerror or error}") from error
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def _read(self, number: int) -> Version:
        path = self._path(number)
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST + 1)
            given = cast("dict[str, object]", json.loads(data) if len(data) <= _LARGEST else {})
            version = Version(**given)  # pyright: ignore[reportArgumentType] - looked at below
        except OSError as error:
            raise StateError(f"{path} cannot be read: {error.strerror or error}") from error
        except (ValueError, TypeError) as error:
            raise StateError(f"{path} is damaged: remove it") from error
        if version.number != number or digest_of(version.text) != version.digest:
            raise StateError(f"{path} is damaged: remove it")
        return version

    def _write(self, number: int, data: bytes) -> None:
        fresh = self.directory / f".{number:06d}.{secrets.token_hex(4)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path(number))
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
