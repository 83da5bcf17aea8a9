"""Cedar: policies in files, decided in this process (https://www.cedarpolicy.com).

`text` and `written` read policies, `tree` finds what they read, `check` and `schema` whether they are right, `slices`
and `asked` what Cedar has to be asked, `values` and `types` how arguments are said to it, `book` asks and keeps,
`told` puts it into words. Only `engine` imports the library.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.policy import Policy

AttributeType = Literal["text", "number", "bool", "list"]


def _resolve(value: Path, info: ValidationInfo) -> Path:
    """Take a path as relative to the settings file, where that is known."""
    base = getattr(info.context, "base", None)
    expanded = value.expanduser() if str(value).startswith("~/") else value
    return base / expanded if isinstance(base, Path) else expanded


def _names(value: dict[str, AttributeType]) -> dict[str, AttributeType]:
    taken = {"tenant", "issuer", "subject", "client"} & set(value)
    if taken:
        raise ValueError(f"holds {', '.join(sorted(taken))}, which every user has")
    return value


FilePattern = Annotated[
    Path,
    AfterValidator(_resolve),
    Field(json_schema_extra={"type": "string", "format": "path", "minLength": 1}),
]


class CedarSettings(BaseModel):
    """Policies in Cedar ([policies](policies.md))."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    files: tuple[FilePattern, ...] = Field(min_length=1, max_length=100)
    """Policy files, or patterns of them (`policies/*.cedar`), relative to this file. Followed as they change."""
    attributes: Annotated[dict[str, AttributeType], AfterValidator(_names)] = Field(
        default_factory=dict, max_length=100
    )
    """The attributes of users that policies may read, by the names that `auth` gives them, and what each is: `text`,
    `number` (whole), `bool`, or `list` (of texts). One that is read and is something else denies."""


@asynccontextmanager
async def open_cedar(settings: CedarSettings, surroundings: Surroundings) -> AsyncGenerator[Policy, None]:
    """Read the policies, whole or not at all."""
    import asyncio

    from tidegate.extensions.policies.cedar.files import Files
    from tidegate.extensions.policies.cedar.policy import CedarPolicy

    yield await asyncio.to_thread(CedarPolicy, "cedar", Files(settings.files), settings.attributes)


CEDAR: Extension[CedarSettings, Policy] = Extension(CedarSettings, open_cedar)
