"""`tidegate quotas`: the quotas in force, and what is used of them now."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, state_of
from tidegate.cli.output import cell, out, say, table, write, write_json

_SHOWN = 5
"""Of each quota, those that use most; --json has more."""
_Told = dict[str, Any]
"""What is told of quotas, as the admin API has it."""


def quotas(config: Config = DEFAULT_CONFIG, state: StateDir = None, json: Json = False) -> None:
    """Show the quotas in force, what is used of them now, by whom, and how many calls they refused."""
    told = asyncio.run(_list(state_of(config, state)))
    if json:
        write_json(told)
        return
    if not told["quotas"]:
        write("no quotas: the settings have none")
        return
    rows = table("QUOTA", "LIMIT", "PER", "USED", "OF", "AGAIN IN", "REFUSED")
    for each in told["quotas"]:
        for row in _rows(each):
            rows.add_row(*(cell(value) for value in row))
        if each["unknown"] is not None:
            say(f"tidegate: it is not known how much of {each['name']} is used: {each['unknown']}")
    out().print(rows)


async def _list(state: Path) -> _Told:
    from json import loads

    from tidegate.cli import control

    async with control.connect(state) as session:
        found: _Told = loads(await control.get(session, "/v1/quotas"))
        return found


def _rows(quota: _Told) -> list[tuple[str, ...]]:
    first = (quota["name"], quota["limit"], ", ".join(quota["per"]) or "all")
    refused = str(quota["refused"])
    rows = [
        (*(first if number == 0 else ("", "", "")), *_use(each), refused if number == 0 else "")
        for number, each in enumerate(quota["uses"][:_SHOWN])
    ]
    return rows or [(*first, "0", "-", "-", refused)]


def _use(use: _Told) -> tuple[str, str, str]:
    seconds = use["seconds"]
    return f"{use['used']:.0f}", use["of"], "-" if not seconds else f"{max(1.0, seconds):.0f} s"
