"""Files: secrets that each stand in a file, such as those that an orchestrator mounts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tidegate.domain.errors import SecretUnavailable
from tidegate.domain.server import Secret
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.secrets import Secrets
from tidegate.secret_text import from_file


class FilesSettings(BaseModel):
    """There are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileSecrets:
    """See `tidegate.ports.secrets.Secrets`. A name is an absolute path, or one below `base`."""

    def __init__(self, base: Path) -> None:
        self._base = base

    async def get(self, name: str) -> Secret:
        """Give a file's text, without a line break at its end."""
        if not name:
            raise SecretUnavailable("a file needs a path")
        try:
            # In a thread: a file may stand on a file system that takes its time.
            text = await asyncio.to_thread(from_file, self._base / name, f"the file {name[:500]}")
        except ValueError as error:
            raise SecretUnavailable(str(error)) from None
        return Secret(text, (f"file:{name}",))


@asynccontextmanager
async def open_files(
    settings: FilesSettings, surroundings: Surroundings
) -> AsyncGenerator[FileSecrets, None]:
    """Open it; paths are from where the gateway was started, unless absolute."""
    yield FileSecrets(Path.cwd())


FILES: Extension[FilesSettings, Secrets] = Extension(FilesSettings, open_files)
