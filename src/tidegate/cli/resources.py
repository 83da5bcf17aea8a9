"""`tidegate resources` and `tidegate read`: what an endpoint has to read, and one of it.

Text on standard output is harmless to a terminal, and to one that a pipe ends in; `--output` gives what came, byte for byte.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import sys
from pathlib import Path
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
from tidegate.cli.output import say, write, write_json
from tidegate.cli.talk import Talk, talk
from tidegate.cli.tools import Where, show_entry, where
from tidegate.domain.errors import TidegateError, UpstreamProtocolError

Contents = list[dict[str, Any]]


def resources(
    url: Url = None,
    endpoint: Endpoint = "/mcp",
    key_file: KeyFile = None,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    timeout: Timeout = 60,
    json: Json = False,
) -> None:
    """List the resources of an endpoint, then the templates of URIs that it reads too."""
    found, templates, meta = asyncio.run(_list(where(url, endpoint, key_file, config, state, timeout)))
    if json:
        write_json({"resources": found, "resourceTemplates": templates, "_meta": meta})
        return
    for each in found:
        show_entry(each["uri"], _about(each))
    for each in templates:
        show_entry(each["uriTemplate"], _about(each))
    if not found and not templates:
        write("no resources")


def read(
    uri: Annotated[
        str,
        typer.Argument(help="The resource's URI, as `tidegate resources` shows it, or one of a template."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write what it holds to this file, byte for byte; - is standard output."
        ),
    ] = None,
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
    """Read a resource. What its server asks for is answered as in `tidegate call`."""
    from tidegate.cli.requests import check_complete

    place = where(url, endpoint, key_file, config, state, timeout)
    with talk(place, uri, no_input=no_input, answers=answer, roots=root, log=log) as talking:
        result = asyncio.run(_read(talking, uri))
    if json:
        write_json(result)
        check_complete(uri, result)
        return
    check_complete(uri, result)
    _show(_contents(result), output)


async def _list(place: Where) -> tuple[Contents, Contents, dict[str, Any]]:
    from tidegate.cli.requests import listed

    async with place.client() as client:
        found, meta = await listed(client, "resources/list", "resources", whole=False)
        templates, _ = await listed(client, "resources/templates/list", "resourceTemplates", whole=False)
        return found, templates, meta


async def _read(talking: Talk, uri: str) -> dict[str, Any]:
    from tidegate.cli.requests import ask

    async with talking.client() as client:
        return await ask(client, "resources/read", {"uri": uri})


def _about(entry: dict[str, Any]) -> str:
    name = str(entry.get("title") or entry.get("name") or "")
    kind = f" ({entry['mimeType']})" if entry.get("mimeType") else ""
    said = f": {entry['description']}" if entry.get("description") else ""
    return f"{name}{kind}{said}"


def _contents(result: dict[str, Any]) -> Contents:
    listed = result.get("contents")
    if not isinstance(listed, list) or not all(
        isinstance(each, dict) for each in cast("list[object]", listed)
    ):
        raise UpstreamProtocolError("the answer to resources/read has no contents")
    return cast(Contents, listed)


def _show(contents: Contents, output: Path | None) -> None:
    if output is not None:
        _save(contents, output)
    elif len(contents) == 1 and _is_binary(contents[0]):
        _put(_bytes(contents[0]))
    else:
        for each in contents:
            if _is_binary(each):
                size = len(str(each["blob"])) * 3 // 4
                write(f"[{each.get('uri')}, {each.get('mimeType')}, {size} bytes; --json shows it]")
            else:
                write(str(each.get("text", "")))


def _save(contents: Contents, output: Path) -> None:
    if len(contents) != 1:
        raise TidegateError(f"the resource has {len(contents)} parts, not one to write; --json shows them")
    data = _bytes(contents[0])
    if str(output) == "-":
        _put(data)
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise TidegateError(f"{output}: cannot be written: {error.strerror}") from None
    say(f"wrote {output} ({len(data)} bytes)")


def _put(data: bytes) -> None:
    if sys.stdout.isatty():
        raise TidegateError(
            "the resource may hold what a terminal takes as commands; name a file with --output"
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def _is_binary(content: dict[str, Any]) -> bool:
    return isinstance(content.get("blob"), str)


def _bytes(content: dict[str, Any]) -> bytes:
    if not _is_binary(content):
        return str(content.get("text", "")).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(content["blob"], validate=True)
    except (binascii.Error, ValueError):
        raise UpstreamProtocolError("the resource's bytes are not base64") from None
