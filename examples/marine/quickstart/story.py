"""The order of things: choose, lay, start, wait, call, check, serve. What is shown is what happened."""

from __future__ import annotations

import ast
import json
import shlex
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from examples.marine.quickstart import host
from examples.marine.quickstart.gateway import TIDEGATE, Gateway, Server, refuse_a_second_one, running
from examples.marine.quickstart.host import ROOT
from examples.marine.quickstart.options import Failure, Interrupted, Options
from examples.marine.quickstart.place import Place, lay
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

SERVERS_SECONDS = 900.0  # the first run may fetch a base image and build three others
MEMORY_LOST = "(code -31005)"
STOPPED_SECONDS = 5.0
UNDER_WAY = ("preparing", "starting")
TOOL = "sqlite__read_query"
QUERY = (
    "SELECT v.name AS vessel, c.cause, c.place, p.currency, c.reserve FROM claims c"
    " JOIN policies p ON p.number = c.policy JOIN vessels v ON v.imo = p.imo ORDER BY c.reserve DESC LIMIT 5"
)

console = Console(highlight=False, soft_wrap=True)


def tell(options: Options, place: Place) -> None:
    """Run the whole quickstart.

    Raises:
        Failure: with what stands in the way and what to do.
        Interrupted: before it got as far as serving.
    """
    refuse_a_second_one(place, options.port)
    choice = host.choose(options, say)
    where = "its own container" if choice.runtime == "docker" else "a sandboxed process of its own"
    say(f"Each server runs in {where}: {choice.why}")
    if not lay(place, choice, options.port):
        say("The git server is left out: there is no program git here (apt-get install git)")
    with running(place, options.port) as gateway:
        _trial(gateway)
        if not options.once:
            _serve(gateway)


def say(line: str) -> None:
    """Show a line of progress."""
    console.print(f"[green]›[/] {escape(line)}")


def shown(path: Path) -> str:
    """Give a path as short as it may be: from the checkout, where it is in it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _trial(gateway: Gateway) -> None:
    say("Gateway started; its servers are prepared (a minute or two the first time)")
    await_servers(gateway)
    command = ["tidegate", "call", TOOL, json.dumps({"query": QUERY}), "--url", gateway.url]
    say("One call, through the gateway: the largest open reserves")
    console.print(f"  [dim]$ .venv/bin/{escape(shlex.join(command))}[/]")
    began = time.monotonic()
    rows = _called(command[1:])
    took = time.monotonic() - began
    check(rows, gateway.place)
    _show(rows)
    say(
        f"The answer equals what the database file says ({len(rows)} rows, {took:.1f} s with the client's own start)"
    )
    _show_endpoint(gateway)


def await_servers(gateway: Gateway) -> None:
    """Show how the servers come up until each has been there or was given up.

    Raises:
        Failure: the one that is called next has not come up.
    """
    began = time.monotonic()
    shown: dict[str, str] = {}
    with console.status("…") as spinner:
        while True:
            servers = gateway.servers()
            for server in servers:
                _show_change(server, shown)
            pending = [server for server in servers if not _settled(server, time.monotonic() - began)]
            if servers and not pending:
                break
            if time.monotonic() - began > SERVERS_SECONDS:
                break
            spinner.update(_waiting(pending))
            time.sleep(0.2)
    needed = next((server for server in servers if server.name == "sqlite"), None)
    if needed is None or not needed.tools or needed.state in ("failed", "waiting"):
        reason = needed.reason or needed.state if needed else "it is not declared"
        raise Failure(f"the server sqlite did not come up: {reason}{gateway.said_by('sqlite')}")


def _settled(server: Server, waited: float) -> bool:
    if server.state == "waiting":  # for its turn, without a reason, or to be tried again, with one
        return server.reason is not None
    if server.state == "ready":
        return server.tools > 0  # asked for right after
    # Right after the start all are stopped; one that stays so is started by a call.
    return server.state not in UNDER_WAY and (server.state != "stopped" or waited > STOPPED_SECONDS)


def _waiting(pending: list[Server]) -> str:
    """Say on one line, which is written over and over, how far each is: `git: 12 files, 3.1 MiB`."""
    steps = (f"{server.name}: {(server.reason or server.state).rpartition(': ')[2]}" for server in pending)
    return escape(" · ".join(steps)) or "…"


def _show_change(server: Server, shown: dict[str, str]) -> None:
    """Show a line when a server's state or the step it is at has changed, not at every file that came."""
    step = (server.reason or "").partition(":")[0] if server.state == "preparing" else server.reason or ""
    text = server.state + (f", {server.tools} tools" if server.tools else "") + (f": {step}" if step else "")
    if shown.get(server.name) == text:
        return
    shown[server.name] = text
    style = "green" if server.state == "ready" else "dim" if server.state in UNDER_WAY else "yellow"
    console.print(f"  [bold]{server.name:8}[/] [{style}]{escape(text)}[/]")


def _called(arguments: list[str]) -> list[dict[str, object]]:
    command = [*TIDEGATE, *arguments, "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )
    if MEMORY_LOST in done.stderr:  # an earlier run was killed; this is said once
        say(done.stderr.strip())
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise Failure(f"the call failed: {(done.stderr or done.stdout).strip()}")
    result = json.loads(done.stdout)
    # This server answers with Python's way to write a list of dictionaries.
    return ast.literal_eval(result["content"][0]["text"])


def check(rows: list[dict[str, object]], place: Place) -> None:
    """Compare an answer with the database file itself.

    Raises:
        Failure: they differ.
    """
    with closing(sqlite3.connect(f"file:{place.database}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        wanted = [dict(row) for row in connection.execute(QUERY)]
    if not wanted or rows != wanted:
        raise Failure(f"the answer is not what the database says: {rows} instead of {wanted}")


def _show(rows: list[dict[str, object]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in rows[0].items():
        table.add_column(name, no_wrap=True, justify="right" if isinstance(value, int) else "left")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    console.print(Padding(table, (0, 0, 0, 2)))


def _show_endpoint(gateway: Gateway) -> None:
    config = shown(gateway.place.settings)
    console.print()
    console.print(f"  [bold]Endpoint[/]      {gateway.url}")
    console.print(f"  [bold]Claude Code[/]   claude mcp add --transport http tidegate {gateway.url}")
    console.print(
        f'  [bold]Others[/]        {{"mcpServers": {{"tidegate": {{"type": "http", "url": "{gateway.url}"}}}}}}'
    )
    console.print(
        f"  [bold]By itself[/]     .venv/bin/tidegate connect claude-desktop --config {config}  [dim](cursor, vscode)[/]"
    )
    console.print(f"  [bold]Look[/]          .venv/bin/tidegate servers --config {config}")
    console.print()


def _serve(gateway: Gateway) -> None:
    say("Serving until Ctrl-C")
    try:
        gateway.wait()
    except Interrupted:
        console.print()
        say("Stopping: calls under way may end, then every server is stopped")
