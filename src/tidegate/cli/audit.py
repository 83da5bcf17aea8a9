"""`tidegate audit`: what the journal proves, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli.audit_find import find, show
from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, state_of
from tidegate.cli.output import say, write, write_json
from tidegate.domain.errors import StateError, TidegateError

if TYPE_CHECKING:
    from tidegate.audit.verify import Verdict

app = typer.Typer(help="Check what the journal proves, and find what is in it.", no_args_is_help=True)
app.command("find")(find)
app.command("show")(show)


@app.callback()
def audit() -> None:
    """Check what the journal proves, and find what is in it."""


@app.command("verify")
def verify(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="The journal; that of the state directory where absent."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Check a journal's chain, roots and seals. Exit status 1 where anything is not as it was written."""
    from tidegate.audit.verify import verify as verify_journal

    journal = directory if directory is not None else state_of(config, state) / "journal"
    if not journal.is_dir():
        raise TidegateError(f"there is no journal {journal}")
    verdict = verify_journal(journal, _key(journal))
    if json:
        write_json(_facts(journal, verdict))
    else:
        _show(journal, verdict)
    if not verdict.ok:
        raise typer.Exit(1)


@app.command("records")
def records(
    tenant: Annotated[str, typer.Option("--tenant", help="Those of this tenant.")],
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="The journal; that of the state directory where absent."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
) -> None:
    """Write the records of a tenant, one JSON object a line: its principals', and those of its own servers."""
    from tidegate.audit.records import records_of
    from tidegate.settings.load import own_servers

    journal = directory if directory is not None else state_of(config, state) / "journal"
    if not journal.is_dir():
        raise TidegateError(f"there is no journal {journal}")
    for line in records_of(journal, tenant, own_servers(config, tenant)):
        write(line)


def _key(journal: Path) -> bytes | None:
    """Give the key of the seals where the journal stands in a state directory of this user."""
    from tidegate.state_directory import StateDirectory

    home = journal.absolute().parent
    if not (home / "keys" / "journal").exists():
        return None
    try:
        return StateDirectory.look(home).key("journal")
    except StateError as error:
        say(f"tidegate: the seals are not checked: {error}")
        return None


def _facts(journal: Path, verdict: Verdict) -> dict[str, object]:
    return {
        "ok": verdict.ok,
        "directory": str(journal),
        "writers": verdict.writers,
        "segments": verdict.segments,
        "records": verdict.records,
        "intents": verdict.intents,
        "outcomes": verdict.outcomes,
        "unknown": verdict.unknown,
        "open": verdict.open,
        "roots": verdict.roots,
        "sealed": verdict.sealed,
        "fault_count": verdict.fault_count,
        "faults": [{"file": each.file, "line": each.line, "what": each.what} for each in verdict.faults],
        "recoveries": [
            {"file": each.file, "line": each.line, "what": each.what} for each in verdict.recoveries
        ],
    }


def _show(journal: Path, verdict: Verdict) -> None:
    seals = "seals not checked (no key)" if verdict.sealed is None else f"{verdict.sealed} seals right"
    write(
        f"{journal}: {verdict.records} records in {verdict.segments} files of {len(verdict.writers)} writers"
    )
    write(
        f"  calls: {verdict.intents} intents, {verdict.outcomes} outcomes ({verdict.unknown} unknown), {verdict.open} open"
    )
    write(f"  {verdict.roots} Merkle roots right, {seals}")
    for note in verdict.recoveries:
        write(f"  noted: {note}")
    for fault in verdict.faults:
        write(f"  FAULT {fault}")
    more = verdict.fault_count - len(verdict.faults)
    if more:
        write(f"  and {more} more")
    faults = "1 fault" if verdict.fault_count == 1 else f"{verdict.fault_count} faults"
    write("everything is as it was written" if verdict.ok else f"not as it was written: {faults}")
