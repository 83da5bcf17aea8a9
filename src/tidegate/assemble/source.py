"""Source: the settings file, with what the command line says in its place. Reads and understands; applies nothing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.domain.errors import SettingsError
from tidegate.extensions import table
from tidegate.secret_sources import look_up
from tidegate.settings import Settings, parse, read_text, state_directory
from tidegate.settings.own_file import keep_from_servers

Stamp = tuple[int, int, int, int]
"""Device, inode, size and time of change of a file: another one where it was written, replaced or linked anew."""


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """Where settings come from."""

    path: Path
    overrides: Mapping[str, object] = field(default_factory=dict[str, object])
    """In place of what the file says, by dotted keys."""
    port: int | None = None
    """In place of the port that the file says."""

    def read(self) -> str:
        """Give the file's text.

        Raises:
            SettingsError: it cannot be read.
        """
        return read_text(self.path)

    def read_again(self) -> str:
        """Give the file's text while the gateway runs.

        Raises:
            SettingsError: it cannot be read, or only once.
        """
        if not self.path.is_file():
            raise SettingsError(f"{self.path}: is no file that can be read again")
        return self.read()

    def parse(self, text: str, what: str = "") -> Settings:
        """Understand a text as if it stood in the file. `what` names it where it does not.

        Raises:
            SettingsError: one line for each mistake.
        """
        base = Path(os.path.abspath(self.path)).parent
        name = what or str(self.path)
        settings = parse(text, base, table, name=name, overrides=self.overrides, look_up=look_up)
        keep_from_servers(self.path, settings)
        if self.port is None:
            return settings
        listen = dataclasses.replace(settings.listen, port=self.port)
        return dataclasses.replace(settings, listen=listen)

    def state(self) -> Path:
        """Give the state directory that the file names, whatever else is wrong with it.

        Raises:
            SettingsError: it cannot be told.
        """
        return state_directory(self.path)

    def stamp(self) -> Stamp | None:
        """Tell the file, as it stands, from what it was; None while there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None  # it is being replaced
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
