"""`secrets:` in the settings file: where secrets are kept beside variables and files.

The settings of each place are its extension's; here is what holds for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict

from tidegate.domain.errors import SecretUnavailable
from tidegate.domain.server import Secret
from tidegate.settings.base import Model
from tidegate.settings.references import Reference
from tidegate.settings.values import SecondsOrNever, SecretText

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,98}")
_MOST_FILES = 64
_MOST_BYTES = 1024 * 1024
"""Of all files together: they stand in memory that is set aside for them."""


def _files(value: dict[str, str | Secret]) -> dict[str, str | Secret]:
    if any(not _FILE.fullmatch(name) for name in value):
        raise ValueError("holds a name that is none for a file; letters, digits and . _ - are")
    if len(value) > _MOST_FILES:
        raise ValueError(f"holds more than {_MOST_FILES} files")
    texts = [each.reveal() if isinstance(each, Secret) else each for each in value.values()]
    if sum(len(text.encode()) for text in texts) > _MOST_BYTES:
        raise ValueError(f"holds more than {_MOST_BYTES} bytes together")
    return value


SecretFiles = Annotated[dict[str, SecretText], AfterValidator(_files)]


class SecretsModel(Model):
    """Where secrets are kept that values refer to, and how often they are looked at."""

    # Further keys are kinds of secrets, whose settings are their extensions'.
    model_config = ConfigDict(extra="allow")

    refresh: SecondsOrNever = 60.0
    """How often the gateway looks whether a secret has changed; a server that has one is then rolled out anew. 0: never."""


class LookUp(Protocol):
    """Gets secrets from where they are kept; called once, with all that a file refers to."""

    def __call__(
        self, wanted: Sequence[Reference], models: Mapping[str, BaseModel], state: Path
    ) -> Mapping[Reference, Secret | SecretUnavailable]:
        """Give each secret, or why it cannot be had. `models` are the settings of each kind."""
        ...
