"""`tidegate prompts` and `tidegate prompt`: the prompts that an endpoint shows, and one of them filled in."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, cast

import typer

from tidegate.cli.call import readable
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
    pairs,
)
from tidegate.cli.output import out, write, write_json
from tidegate.cli.talk import Talk, talk
from tidegate.cli.tools import Where, show_entry, where
from tidegate.domain.errors import SettingsError


def prompts(
    url: Url = None,
    endpoint: Endpoint = "/mcp",
    key_file: KeyFile = None,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    timeout: Timeout = 60,
    json: Json = False,
) -> None:
    """List the prompts of an endpoint, with their arguments."""
    listed, meta = asyncio.run(_list(where(url, endpoint, key_file, config, state, timeout)))
    if json:
        write_json({"prompts": listed, "_meta": meta})
        return
    for each in listed:
        show_entry(
            " ".join([str(each["name"]), *_arguments(each)]), each.get("description") or each.get("title")
        )
    if not listed:
        write("no prompts")


def prompt(
    name: Annotated[str, typer.Argument(help="The prompt's name, as `tidegate prompts` shows it.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Its arguments.")] = None,
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
    """Fill in a prompt and show its messages. What its server asks for is answered as in `tidegate call`."""
    from tidegate.cli.requests import check_complete

    given = pairs(arguments or (), "an argument")
    if any(len(values) > 1 for values in given.values()):
        raise SettingsError("an argument: should be given once")
    place = where(url, endpoint, key_file, config, state, timeout)
    with talk(place, name, no_input=no_input, answers=answer, roots=root, log=log) as talking:
        result = asyncio.run(_get(talking, name, {key: values[0] for key, values in given.items()}))
    if json:
        write_json(result)
    else:
        _show(result)
    check_complete(name, result)


async def _list(place: Where) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from tidegate.cli.requests import listed

    async with place.client() as client:
        return await listed(client, "prompts/list", "prompts", whole=False)


async def _get(talking: Talk, name: str, arguments: dict[str, str]) -> dict[str, Any]:
    from tidegate.cli.requests import ask

    async with talking.client() as client:
        return await ask(client, "prompts/get", {"name": name, "arguments": arguments})


def _arguments(prompt: dict[str, Any]) -> list[str]:
    listed = prompt.get("arguments")
    shown: list[str] = []
    for each in cast("list[object]", listed) if isinstance(listed, list) else []:
        if isinstance(each, dict):
            about = cast("dict[str, Any]", each)
            word = f"{str(about.get('name'))[:200]}=…"
            shown.append(word if about.get("required") is True else f"[{word}]")
    return shown


def _show(result: dict[str, Any]) -> None:
    """Show the messages; whose each is where there is more than one."""
    from rich.text import Text

    listed = result.get("messages")
    messages = [
        cast("dict[str, Any]", each)
        for each in (cast("list[object]", listed) if isinstance(listed, list) else [])
        if isinstance(each, dict)
    ]
    for message in messages:
        if len(messages) > 1:
            role = "assistant" if message.get("role") == "assistant" else "user"
            out().print(Text(f"{role}:", style="bold"))
        content = message.get("content")
        if isinstance(content, dict):
            write(readable(cast("dict[str, Any]", content)))
