"""Compose: the secret files that Docker (Swarm) and Compose give a container, below /run/secrets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from tidegate.domain.errors import SecretUnavailable
from tidegate.domain.server import Secret
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.secrets import Secrets
from tidegate.secret_text import from_file

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


class ComposeSettings(BaseModel):
    """Docker's and Compose's own secrets, given to the gateway's container: `${docker:NAME}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    directory: str = Field(default="/run/secrets", pattern="^/", max_length=4096)
    """Where they are mounted."""


class ComposeSecrets:
    """See `tidegate.ports.secrets.Secrets`. A name is that of a file in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def get(self, name: str) -> Secret:
        """Give a secret file's text, without a line break at its end."""
        if not _NAME.fullmatch(name):
            raise SecretUnavailable("docker: a secret's name is letters, digits and . _ -, no path")
        try:
            text = await asyncio.to_thread(from_file, self._directory / name, f"the Docker secret {name}")
        except ValueError as error:
            raise SecretUnavailable(str(error)) from None
        return Secret(text, (f"docker:{name}",))


@asynccontextmanager
async def open_compose(
    settings: ComposeSettings, surroundings: Surroundings
) -> AsyncGenerator[ComposeSecrets, None]:
    """Open it."""
    yield ComposeSecrets(Path(settings.directory))


COMPOSE: Extension[ComposeSettings, Secrets] = Extension(ComposeSettings, open_compose)
