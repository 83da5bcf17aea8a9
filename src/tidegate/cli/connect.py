"""`tidegate connect`: write the gateway into an MCP client's configuration, keeping what was there."""

from __future__ import annotations

import difflib
import json as jsonlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from tidegate.cli.clients import CLIENTS, Home, McpClient
from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, check_url, load_settings
from tidegate.cli.output import write, write_json
from tidegate.domain.errors import SettingsError, TidegateError

MAX_FILE = 32 * 1024 * 1024
"""Claude Code keeps much more than servers in its file."""

Document = dict[str, Any]


def connect(
    client: Annotated[str, typer.Argument(help=f"One of {', '.join(CLIENTS)}.")],
    url: Annotated[
        str | None, typer.Option("--url", help="URL of the endpoint, in place of the settings file's.")
    ] = None,
    endpoint: Annotated[
        str, typer.Option("--endpoint", help="Which endpoint of the settings file.")
    ] = "/mcp",
    name: Annotated[str, typer.Option("--name", help="What the client calls the gateway.")] = "tidegate",
    with_key: Annotated[
        bool,
        typer.Option(
            "--with-key", help="Has the client send the API key in TIDEGATE_KEY; the key is not written."
        ),
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--file", help="The client's file, where it is another.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Write the gateway into the configuration of claude-desktop, claude-code, vscode or cursor."""
    known = CLIENTS.get(client)
    if known is None:
        raise SettingsError(f"there is no client {client} (known: {', '.join(CLIENTS)})")
    _check_name(name)
    path = file or known.path(Home(sys.platform, Path.home(), os.environ))
    path = path.resolve()  # a link to it stays one
    entry = known.entry(_url(url, endpoint, config), with_key)
    old = _read(path)
    new = _with_entry(old, path, known, (name, entry), with_key)
    backup = _replace(path, old, new) if new != old and not dry_run else None
    if json:
        write_json(
            {
                "client": client,
                "file": str(path),
                "changed": new != old,
                "written": new != old and not dry_run,
            }
            | {"backup": str(backup) if backup else None, "entry": entry}
        )
    else:
        _tell(known, path, old, new, backup, dry_run=dry_run)


def _tell(known: McpClient, path: Path, old: str, new: str, backup: Path | None, *, dry_run: bool) -> None:
    if new == old:
        write(f"{path} has it already; nothing was changed")
        return
    if dry_run:
        lines = difflib.unified_diff(
            old.splitlines(), new.splitlines(), str(path), f"{path} (new)", lineterm=""
        )
        write("\n".join(lines))
        return
    write(f"wrote {path}" + (f" (as it was before: {backup})" if backup else ""))
    write(known.after)


def _check_name(name: str) -> None:
    if (
        not name
        or len(name) > 64
        or not all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in name)
    ):
        raise SettingsError("--name: should be at most 64 letters, digits, - and _")


def _url(url: str | None, endpoint: str, config: Path) -> str:
    if url is None:
        settings = load_settings(config)
        known = [each.path for each in settings.endpoints]
        if endpoint not in known:
            raise SettingsError(f"there is no endpoint {endpoint} (known: {', '.join(known)})")
        if settings.listen.port == 0 and settings.public_url is None:
            raise SettingsError(
                "listen has port 0, so the URL is not known before the start (--url names it)"
            )
        return settings.url + endpoint
    check_url(url)
    return url


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise TidegateError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise TidegateError(f"{path}: is larger than {MAX_FILE} bytes, so it was left alone")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TidegateError(f"{path}: is not text (UTF-8), so it was left alone") from None


def _with_entry(old: str, path: Path, known: McpClient, named: tuple[str, Document], with_key: bool) -> str:
    """Give the file's new text: the old one, where that says it already."""
    name, entry = named
    document = _parse(old, path, known, {known.section: {name: entry}})
    changed = _merged(document, known, name, entry, with_key)
    return old if changed == document and old else jsonlib.dumps(changed, indent=2, ensure_ascii=False) + "\n"


def _parse(text: str, path: Path, known: McpClient, addition: Document) -> Document:
    if not text.strip():
        return {}
    try:
        document = jsonlib.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        why = "may hold comments, which would be lost" if known.comments else f"is not JSON ({error})"
        to_add = jsonlib.dumps(addition, indent=2)
        raise TidegateError(f"{path}: {why}, so it was left alone; add this to it:\n{to_add}") from None
    if not isinstance(document, dict) or not isinstance(
        cast(Document, document).get(known.section, {}), dict
    ):
        raise TidegateError(f"{path}: is not the configuration of {known.title}, so it was left alone")
    return cast(Document, document)


def _once(pairs: list[tuple[str, Any]]) -> Document:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _merged(document: Document, known: McpClient, name: str, entry: Document, with_key: bool) -> Document:
    servers = {**document.get(known.section, {}), name: entry}
    merged = {**document, known.section: servers}
    if with_key and known.inputs:
        there = document.get("inputs", [])
        given = cast("list[Document]", there) if isinstance(there, list) else []
        ids = [each.get("id") for each in given if isinstance(each, dict)]  # pyright: ignore[reportUnnecessaryIsInstance] - the file is the user's
        merged["inputs"] = [*given, *(each for each in known.inputs if each["id"] not in ids)]
    return merged


def _replace(path: Path, old: str, new: str) -> Path | None:
    """Write the new text beside the file and put it in its place; keep a copy of the old one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        backup = _written_beside(path, old, ".tidegate-backup") if old else None
        os.replace(_written_beside(path, new, None), path)
    except OSError as error:
        raise TidegateError(f"{path}: cannot be written: {error.strerror}") from None
    return backup


def _written_beside(path: Path, text: str, suffix: str | None) -> Path:
    # Such files hold the keys of other servers: nobody else may read what we make, unless they could before.
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
    handle, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(made, mode)
        if suffix is None:
            return Path(made)
        backup = path.with_name(path.name + suffix)
        os.replace(made, backup)
        return backup
    except OSError:
        Path(made).unlink(missing_ok=True)
        raise
