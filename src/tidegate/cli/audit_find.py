"""`tidegate audit find` and `show`: records of the journal, by who, what, when and how it was decided.

Reads the files of the state directory, whether or not a gateway runs; or asks one elsewhere by its admin API.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, KeyFile, StateDir, state_of
from tidegate.cli.output import cell, harmless, out, table
from tidegate.cli.remote import Gateway, ask
from tidegate.cli.times import duration, moment
from tidegate.domain.errors import TidegateError

if TYPE_CHECKING:
    from tidegate.audit.search import Wanted

_LONGEST = 100 * 366 * 86400.0
_PAGE = 500
Who = Annotated[str, typer.Option("--principal", help="Who asked: a subject, or a principal's key.")]
Tool = Annotated[
    str, typer.Option("--tool", help="A pattern on `server__tool`, or on the name that was asked for.")
]
Server = Annotated[str, typer.Option("--server", help="What is of this server.")]
Decided = Annotated[
    Literal["allowed", "refused"] | None, typer.Option("--decision", help="What was allowed, or refused.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why it was refused: the word of the error.")]
RecordKinds = Annotated[
    str, typer.Option("--kind", help="The kind of record: call.intent, refused, admin, …")
]
Call = Annotated[str, typer.Option("--call", help="Of this call: `data.id` of an error.")]
Since = Annotated[str, typer.Option("--since", metavar="AGO", help="No older than this: 2h, 7d.")]
Until = Annotated[str, typer.Option("--until", metavar="AGO", help="Older than this.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Those of this tenant, as they may be told to it.")]
Most = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="So many at most, the newest.")]
Lines = Annotated[bool, typer.Option("--json", help="Write the records, one JSON object a line.")]


def find(
    principal: Who = "",
    tool: Tool = "",
    server: Server = "",
    decision: Decided = None,
    reason: Reason = "",
    kind: RecordKinds = "",
    call: Call = "",
    since: Since = "",
    until: Until = "",
    tenant: Tenant = "",
    limit: Most = 100,
    url: Gateway = None,
    key_file: KeyFile = None,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Lines = False,
) -> None:
    """Find records of the journal, the newest first."""
    from tidegate.audit.search import Wanted

    now = time.time()
    wanted = Wanted(
        principal, tool, server, decision or "", reason, kind, call,
        now - duration(since, "--since", _LONGEST, "a century") if since else 0.0,
        now - duration(until, "--until", _LONGEST, "a century") if until else float("inf"),
    )  # fmt: skip
    if url is not None:
        if tenant:
            raise TidegateError("--tenant: a gateway elsewhere knows it by whose key it is asked with")
        _show(_there(url, key_file, wanted, limit), json=json)
    else:
        _show(_here(wanted, limit, config, state, tenant), json=json)


def show(
    call: Annotated[str, typer.Argument(metavar="ID", help="`data.id` of an error, or `call` of a record.")],
    url: Gateway = None,
    key_file: KeyFile = None,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
) -> None:
    """Write all records of a call, the newest first, one JSON object a line."""
    from tidegate.audit.search import Wanted

    wanted = Wanted(call=call)
    found = _here(wanted, _PAGE, config, state, "") if url is None else _there(url, key_file, wanted, _PAGE)
    if not _show(found, json=True):
        raise TidegateError(f"the journal has no call {call[:64]}")


def _here(
    wanted: Wanted, limit: int, config: Path, state: Path | None, tenant: str
) -> Iterator[dict[str, Any]]:
    from tidegate.audit.search import search
    from tidegate.settings.load import own_servers

    journal = state_of(config, state) / "journal"
    if not journal.is_dir():
        raise TidegateError(f"there is no journal {journal}")
    if tenant:
        wanted = replace(wanted, tenant=tenant, servers=tuple(own_servers(config, tenant)))
    place: str | None = None
    while limit > 0:
        page = search(journal, wanted, min(_PAGE, limit), place)
        yield from (_read(line) for line in page.lines)
        limit, place = limit - len(page.lines), page.next
        if place is None:
            return


def _there(url: str, key_file: Path | None, wanted: Wanted, limit: int) -> Iterator[dict[str, Any]]:
    query: dict[str, object] = {
        name: value
        for name in ("principal", "tool", "server", "decision", "reason", "kind")
        if (value := getattr(wanted, name))
    }
    query |= {"id": wanted.call} if wanted.call else {}
    query |= {"since": wanted.since} if wanted.since else {}
    query |= {"until": wanted.until} if wanted.until != float("inf") else {}
    place: str | None = None
    while limit > 0:
        asked = {**query, "limit": min(_PAGE, limit), **({} if place is None else {"after": place})}
        page = _read(asyncio.run(ask(url, key_file, "/audit", query=asked)))
        records = cast("list[dict[str, Any]]", page.get("records") or [])
        yield from records
        limit, place = limit - len(records), page.get("next")
        if place is None:
            return


def _read(data: bytes) -> dict[str, Any]:
    try:
        found: object = jsonlib.loads(data)
    except (ValueError, RecursionError):
        raise TidegateError("what the gateway says cannot be read") from None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _show(records: Iterator[dict[str, Any]], *, json: bool) -> int:
    count = 0
    if json:
        for record in records:
            count += 1
            sys.stdout.write(harmless(jsonlib.dumps(record, ensure_ascii=True, separators=(",", ":"))) + "\n")
        return count
    rows = table("TIME", "KIND", "WHO", "WHAT", "HOW", "CALL")
    for record in records:
        count += 1
        rows.add_row(*(cell(" ".join(str(each).split())) for each in _row(record)))
    out().print(rows)
    return count


def _row(record: dict[str, Any]) -> tuple[object, ...]:
    data = cast("dict[str, Any]", record["data"]) if isinstance(record.get("data"), dict) else {}
    target = cast("dict[str, Any]", data["target"]) if isinstance(data.get("target"), dict) else {}
    tenant, subject = record.get("tenant"), record.get("subject")
    own = record if record.get("server") else target
    what = (
        f"{own['server']}__{own.get('name', '')}" if own.get("server") else data.get("name") or _event(data)
    )
    how = (
        record.get("reason")
        or record.get("outcome")
        or record.get("rule")
        or data.get("rule")
        or data.get("reason")
    )
    return (
        moment(int(record.get("time", 0)) / 1e6),
        record.get("kind", ""),
        f"{subject} ({tenant})" if subject else tenant or "",
        what or data.get("method") or record.get("part") or "",
        how or "",
        record.get("call") or data.get("call") or "",
    )


def _event(data: dict[str, Any]) -> str:
    return " ".join(
        str(each) for each in (data.get("event"), data.get("workload") or data.get("server")) if each
    )
