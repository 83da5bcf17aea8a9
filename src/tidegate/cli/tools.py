"""`tidegate tools`: the tools that an endpoint shows. Also how this and the commands like it reach one."""

from __future__ import annotations

import asyncio
import os
import textwrap
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.cli.options import (
    DEFAULT_CONFIG,
    Config,
    Endpoint,
    Json,
    KeyFile,
    StateDir,
    Url,
    check_url,
    state_of,
)
from tidegate.cli.output import harmless, out, write, write_json
from tidegate.domain.errors import SettingsError

if TYPE_CHECKING:
    from tidegate.cli.mcp import Client, Manner

MAX_KEY = 4096


@dataclass(frozen=True, slots=True)
class Where:
    """Which endpoint is meant: a URL with a key, or one of the gateway on a state directory."""

    url: str | None
    endpoint: str
    key: str | None
    state: Path | None
    timeout: float

    @asynccontextmanager
    async def client(self, manner: Manner | None = None) -> AsyncGenerator[Client]:
        """Open a client of it."""
        from tidegate.cli import control, mcp

        if self.url is not None:
            async with mcp.dial(self.url, self.key) as session:
                client = mcp.Client(session, self.url, timeout=self.timeout, manner=manner)
                await client.find_era()
                try:
                    yield client
                finally:
                    await client.leave()
        elif self.state is not None:
            async with control.connect(self.state) as session:
                yield mcp.Client(session, control.BASE + self.endpoint, timeout=self.timeout, manner=manner)


def where(
    url: str | None, endpoint: str, key_file: Path | None, config: Path, state: Path | None, timeout: float
) -> Where:
    """Understand the options of a client command.

    Raises:
        SettingsError: they name nothing that is there.
    """
    if url is not None:
        check_url(url)
        return Where(url, endpoint, key_from(key_file), None, timeout)
    if not endpoint.startswith("/"):
        raise SettingsError("--endpoint: should be a path such as /mcp")
    return Where(None, endpoint, None, state_of(config, state), timeout)


def tools(
    url: Url = None,
    endpoint: Endpoint = "/mcp",
    key_file: KeyFile = None,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, max=3600, help="Seconds for each answer.")
    ] = 60,
    json: Json = False,
) -> None:
    """List the tools of an endpoint."""
    place = where(url, endpoint, key_file, config, state, timeout)
    listed, meta = asyncio.run(_list(place))
    if json:
        write_json({"tools": listed, "_meta": meta})
        return
    for tool in listed:
        _show(tool)
    if not listed:
        write("no tools")


async def _list(place: Where) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from tidegate.cli.requests import listed

    async with place.client() as client:
        return await listed(client, "tools/list", "tools")


def _show(tool: dict[str, Any]) -> None:
    show_entry(str(tool["name"]), tool.get("description") or tool.get("title"))


def show_entry(name: str, said: object) -> None:
    """Show one entry of a list: its name, and the beginning of what the server says of it."""
    from rich.text import Text

    console = out()
    about = str(said or "").strip().split("\n\n")[0]
    console.print(Text(harmless(name), style="bold"), soft_wrap=True)
    for line in textwrap.wrap(harmless(" ".join(about.split()))[:400], max(20, console.width - 4)):
        console.print(Text("    " + line, style="dim"))


def key_from(key_file: Path | None) -> str | None:
    """Read the key of a file, or the variable's where none is named; None where there is none.

    Raises:
        SettingsError: the file holds no key.
    """
    # Never an argument: other users of the machine see those.
    if key_file is None:
        return os.environ.get("TIDEGATE_KEY") or None
    try:
        with key_file.open("rb") as file:
            key = file.read(MAX_KEY + 1).decode("ascii").strip()
    except OSError as error:
        raise SettingsError(f"{key_file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{key_file}: holds no key") from None
    if not key or len(key) > MAX_KEY or not key.isprintable() or " " in key:
        raise SettingsError(f"{key_file}: holds no key")
    return key
