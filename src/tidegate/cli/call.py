"""`tidegate call`: call one tool and show what it says."""

from __future__ import annotations

import asyncio
import json as jsonlib
import sys
from typing import Annotated, Any, cast

import typer

from tidegate.cli.options import (
    DEFAULT_CONFIG,
    Answer,
    Config,
    Endpoint,
    Json,
    KeyFile,
    Log,
    NoInput,
    Root,
    StateDir,
    Timeout,
    Url,
)
from tidegate.cli.output import harmless, say, write, write_json
from tidegate.cli.talk import Talk, talk
from tidegate.cli.tools import where
from tidegate.domain.errors import SettingsError

MAX_ARGUMENTS = 16 * 1024 * 1024


def call(
    tool: Annotated[str, typer.Argument(help="The tool's name, as `tidegate tools` shows it.")],
    arguments: Annotated[
        str, typer.Argument(help="Its arguments, a JSON object; - reads them from standard input.")
    ] = "{}",
    url: Url = None,
    endpoint: Endpoint = "/mcp",
    key_file: KeyFile = None,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    timeout: Timeout = 300,
    no_input: NoInput = False,
    answer: Answer = None,
    root: Root = None,
    log: Log = None,
    json: Json = False,
) -> None:
    """Call a tool. Exit status 1 where the tool says that it failed.

    What a server asks for meanwhile is asked of the user at the terminal: forms, and pages, which are shown
    and never opened. Without a terminal, or with --no-input, only --answer and --root answer; what cannot be
    answered is not declared, so that servers do not ask for it. Sampling never is.
    """
    from tidegate.cli.requests import check_complete

    given = _arguments(arguments)
    place = where(url, endpoint, key_file, config, state, timeout)
    with talk(place, tool, no_input=no_input, answers=answer, roots=root, log=log) as talking:
        result = asyncio.run(_call(talking, tool, given))
    if json:
        write_json(result)
    else:
        _show(result)
    check_complete(tool, result)
    if result.get("isError") is True:
        if not json:
            say(f"tidegate: {tool} says that it failed")
        raise typer.Exit(1)


def _arguments(text: str) -> dict[str, Any]:
    if text == "-":
        text = sys.stdin.read(MAX_ARGUMENTS + 1)
    if len(text) > MAX_ARGUMENTS:
        raise SettingsError(f"the arguments are larger than {MAX_ARGUMENTS} characters")
    try:
        value = jsonlib.loads(text)
    except jsonlib.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise SettingsError(f"the arguments are not JSON: {error.msg} ({at})") from None
    except RecursionError:
        raise SettingsError("the arguments are nested too deep") from None
    if not isinstance(value, dict):
        raise SettingsError('the arguments should be a JSON object, such as {"timezone": "UTC"}')
    return cast("dict[str, Any]", value)


async def _call(talking: Talk, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from tidegate.cli.requests import call

    async with talking.client() as client:
        return await call(client, tool, arguments)


def _show(result: dict[str, Any]) -> None:
    content = result.get("content")
    parts = cast("list[object]", content) if isinstance(content, list) else []
    for part in parts:
        if isinstance(part, dict):
            write(readable(cast("dict[str, Any]", part)))
    if not parts and "structuredContent" in result:
        write_json(result["structuredContent"])


def readable(part: dict[str, Any]) -> str:
    """Give a part of some content as text for people, or say what it is."""
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image" | "audio" as kind, "data": str(data)}:
            return f"[{kind}, {part.get('mimeType')}, {len(data) * 3 // 4} bytes; --json shows it]"
        case {"type": "resource", "resource": {"text": str(text)}}:
            return text
        case {"type": "resource", "resource": {"uri": str(uri)}} | {"type": "resource_link", "uri": str(uri)}:
            return f"[{part['type']} {uri}]"
        case _:
            return f"[{harmless(str(part.get('type')))}; --json shows it]"
