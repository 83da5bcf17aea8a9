"""`tidegate check`: is the settings file right?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, load_settings
from tidegate.cli.output import cell, out, table, write, write_json
from tidegate.domain.errors import SettingsError

if TYPE_CHECKING:
    from tidegate.settings import Settings


def check(
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of the settings file.")
    ] = False,
    secrets: Annotated[
        bool,
        typer.Option(
            "--secrets", help="Get every secret too, also from servers and programs that keep them."
        ),
    ] = False,
) -> None:
    """Check the settings file: a summary, or every mistake in it."""
    if schema:
        from tidegate.extensions import table as extensions
        from tidegate.settings.schema import json_schema

        write_json(json_schema(extensions))
        return
    try:
        settings = load_settings(config, secrets=secrets)
    except SettingsError as error:
        if not json:
            raise
        write_json({"ok": False, "problems": error.problems})
        raise typer.Exit(2) from None
    if json:
        write_json({"ok": True, "problems": [], **_facts(settings)})
    else:
        _show(str(config), settings)
        if not secrets:
            _say_unseen(settings)


def _facts(settings: Settings) -> dict[str, object]:
    return {
        "url": settings.url,
        "auth": [each.type for each in settings.auth],
        "state": str(settings.state),
        "endpoints": [
            {"path": each.path, "servers": list(each.servers), "names": each.names.value}
            for each in settings.endpoints
        ],
        "servers": [
            {
                "name": each.name,
                "launch": each.describe(),
                "runtime": each.runtime,
                "sharing": each.sharing.value,
            }
            for each in settings.servers
        ],
    }


def _show(config: str, settings: Settings) -> None:
    held = ", ".join((_count(len(settings.servers), "server"), _count(len(settings.endpoints), "endpoint")))
    write(f"{config} is right: {held}")
    write(
        f"listens on {settings.listen} (auth: {', '.join(each.type for each in settings.auth)}), keeps its state in {settings.state}"
    )
    rows = table("SERVER", "LAUNCH", "RUNTIME", "SHARING", "ENDPOINTS")
    for spec in settings.servers:
        shown = [each.path for each in settings.endpoints if spec.name in each.servers]
        row = (spec.name, spec.describe(), spec.runtime, spec.sharing.value, " ".join(shown) or "none")
        rows.add_row(*(cell(each) for each in row))
    if settings.servers:
        out().print(rows)


def _say_unseen(settings: Settings) -> None:
    from tidegate.settings.references import HERE

    unseen = sum(each.kind not in HERE for each in settings.secrets.values)
    if unseen:
        write(f"{_count(unseen, 'secret')} kept elsewhere and not looked at (--secrets does)")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
