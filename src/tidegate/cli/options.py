"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tidegate.domain.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tidegate.settings import Places, Settings

DEFAULT_CONFIG = Path("tidegate.yaml")
MAX_PAIRS = 500

Config = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="TIDEGATE_CONFIG", help="The settings file.", show_default=True),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")]
StateDir = Annotated[
    Path | None, typer.Option("--state", help="The state directory, in place of the settings file's.")
]
Url = Annotated[
    str | None, typer.Option("--url", help="Any MCP server's URL, in place of the gateway that runs here.")
]
Endpoint = Annotated[str, typer.Option("--endpoint", help="The endpoint of the gateway that runs here.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file", help="A file that holds the API key. Else the variable TIDEGATE_KEY, where set."
    ),
]

Timeout = Annotated[float, typer.Option("--timeout", min=0.1, max=86400, help="Seconds for each answer.")]
NoInput = Annotated[
    bool, typer.Option("--no-input", help="Let nothing be asked of the user, also at a terminal.")
]
Answer = Annotated[
    list[str] | None,
    typer.Option(
        "--answer",
        metavar="KEY=VALUE",
        help="The answer to a form's question of this name. More than once: more questions, or more choices.",
    ),
]
Root = Annotated[
    list[Path] | None,
    typer.Option(
        "--root", help="A directory to name to servers that ask for roots. They are not thereby let into it."
    ),
]
Log = Annotated[
    Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"] | None,
    typer.Option("--log", help="Show the server's log messages from this level on, on standard error."),
]


def load_settings(
    config: Path, overrides: Mapping[str, object] | None = None, *, secrets: bool = False
) -> Settings:
    """Load the settings with the extensions that are installed.

    `secrets`: get those too that are kept elsewhere than in variables and files; else they are empty.

    Raises:
        SettingsError: with every mistake.
    """
    from tidegate.extensions import table
    from tidegate.settings import load

    must_be_there(config)
    if not secrets:
        return load(config, table, overrides=overrides)
    from tidegate.secret_sources import look_up

    return load(config, table, overrides=overrides, look_up=look_up)


def state_of(config: Path, state: Path | None) -> Path:
    """Give the state directory: the one named, else the settings file's.

    Raises:
        SettingsError: neither is there.
    """
    if state is not None:
        return state
    from tidegate.settings import state_directory

    must_be_there(config)
    return state_directory(config)


def places_of(config: Path, state: Path | None) -> Places:
    """Give the state directory, the one named or the settings file's, and what it shares with other gateways.

    Raises:
        SettingsError: neither is there.
    """
    from tidegate.settings import Places, places

    if state is not None:
        return Places(state, None)
    must_be_there(config)
    return places(config)


def pairs(given: Sequence[str], option: str) -> dict[str, list[str]]:
    """Split `key=value` words; a key given more than once has several values.

    Raises:
        SettingsError: one is no such word, or there are too many.
    """
    if len(given) > MAX_PAIRS:
        raise SettingsError(f"{option}: more than {MAX_PAIRS} of them")
    found: dict[str, list[str]] = {}
    for each in given:
        key, sign, value = each.partition("=")
        if not key or not sign:
            raise SettingsError(f"{option}: should be key=value")
        found.setdefault(key, []).append(value)
    return found


def check_url(url: str) -> None:
    """Refuse what is no URL of an MCP server.

    Raises:
        SettingsError: it is none; the message does not hold it.
    """
    from tidegate.settings.values import split_url

    try:
        if split_url(url, ("http", "https")).username is not None:
            raise ValueError("should hold no user or password")
    except ValueError as error:
        raise SettingsError(f"--url: {error}") from None


def must_be_there(config: Path) -> None:
    """Say how to name a settings file where there is none.

    Raises:
        SettingsError: none was named, and none is here.
    """
    if config == DEFAULT_CONFIG and not config.exists():
        raise SettingsError(f"{config}: there is no such file here (name one with --config)")
