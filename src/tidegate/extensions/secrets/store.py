"""Store: secrets in one encrypted file of the state directory, written by `tidegate secret`.

Names, versions and dates stand in it as they are; values are sealed with AES-256-GCM, each bound to its name
and version. The key is in a file of its own (mode 0600), or comes from outside. A writer replaces the file
whole, so a reader needs no lock.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from tidegate.domain.errors import SecretUnavailable
from tidegate.domain.server import Secret
from tidegate.extensions.secrets.store_file import StoreFile
from tidegate.extensions.secrets.store_key import KeyPlace
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.secrets import Secrets


class StoreSettings(BaseModel):
    """The encrypted store that `tidegate secret set` writes: `${secret:NAME}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    key_file: str | None = Field(default=None, pattern="^/", max_length=4096)
    """File that holds the key (32 bytes as base64), kept apart from the state directory. Where absent: the
    variable `TIDEGATE_SECRET_KEY`, else a key in the state directory."""


class StoreSecrets:
    """See `tidegate.ports.secrets.Secrets`. A name is as `tidegate secret set` took it."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    async def get(self, name: str) -> Secret:
        """Open one secret."""
        value = await asyncio.to_thread(self._file.get, name)
        if value is None:
            raise SecretUnavailable(f"there is no secret {name[:100]} (tidegate secret set {name[:100]})")
        return Secret(value, (f"secret:{name}",))


def store_in(state: Path, settings: StoreSettings | None = None) -> StoreFile:
    """Give the store of a state directory; nothing is read yet."""
    given = settings.key_file if settings is not None else None
    place = state / "secrets"
    key = KeyPlace(place, Path(given) if given else None, os.environ.get("TIDEGATE_SECRET_KEY") or None)
    return StoreFile(place, key)


@asynccontextmanager
async def open_store(
    settings: StoreSettings, surroundings: Surroundings
) -> AsyncGenerator[StoreSecrets, None]:
    """Open it; nothing is read yet."""
    yield StoreSecrets(store_in(surroundings.state_dir, settings))


STORE: Extension[StoreSettings, Secrets] = Extension(StoreSettings, open_store)
