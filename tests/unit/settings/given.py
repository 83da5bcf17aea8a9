"""What the tests of settings share: extensions that are few and known, and settings from text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from tidegate.domain.errors import SettingsError
from tidegate.settings import Settings, parse

BASE = Path("/etc/tidegate")


class EngineSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    socket: str = "unix:///run/engine.sock"
    starts: int = Field(default=2, ge=1)


class NoSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FewExtensions:
    """Runtimes `docker` and `process`, with settings of the tests' own."""

    def names(self, kind: str) -> Sequence[str]:
        return ["docker", "process", "broken"] if kind == "runtimes" else []

    def settings_model(self, kind: str, name: str) -> type[BaseModel]:
        if name == "broken":
            raise SettingsError("the extension broken cannot be loaded")
        return EngineSettings if name == "docker" else NoSettings


def read(text: str, base: Path = BASE, **environment: str) -> Settings:
    return parse(textwrap.dedent(text), base, FewExtensions(), environment=environment)


def mistakes(text: str, base: Path = BASE, **environment: str) -> list[str]:
    """Give the mistakes, without the name of the file."""
    with pytest.raises(SettingsError) as caught:
        read(text, base, **environment)
    return [problem.removeprefix("tidegate.yaml:") for problem in caught.value.problems]


def only_mistake(text: str, base: Path = BASE, **environment: str) -> str:
    found = mistakes(text, base, **environment)
    assert len(found) == 1, found
    return found[0]
