"""Environment: secrets in the variables of this process. They are as they were when it began."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from pydantic import BaseModel, ConfigDict

from tidegate.domain.errors import SecretUnavailable
from tidegate.domain.server import Secret
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.secrets import Secrets
from tidegate.secret_text import checked


class EnvironmentSettings(BaseModel):
    """There are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EnvironmentSecrets:
    """See `tidegate.ports.secrets.Secrets`. A name is that of a variable."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    async def get(self, name: str) -> Secret:
        """Give a variable's value."""
        value = self._variables.get(name)
        if value is None:
            raise SecretUnavailable(f"the environment variable {name[:255]} is not set")
        try:
            return Secret(checked(value, f"the environment variable {name}"), (f"env:{name}",))
        except ValueError as error:
            raise SecretUnavailable(str(error)) from None


@asynccontextmanager
async def open_environment(
    settings: EnvironmentSettings, surroundings: Surroundings
) -> AsyncGenerator[EnvironmentSecrets, None]:
    """Open it."""
    yield EnvironmentSecrets(os.environ)


ENVIRONMENT: Extension[EnvironmentSettings, Secrets] = Extension(EnvironmentSettings, open_environment)
