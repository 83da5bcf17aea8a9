"""What a gateway says of its servers, as tables that fit the terminal. Asks nothing, writes nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.cli.output import cell, harmless, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType
    from rich.table import Table

    from tidegate.cli.control import ServerStatus, Status, WorkloadStatus

_COLOURS = {
    "ready": "green", "healthy": "green", "failed": "red", "quarantined": "red", "ejected": "red",
    "stopped": "dim", "paused": "cyan", "unknown": "dim",
}  # fmt: skip
_MISTAKES = 8
"""Of the settings file, that are shown."""
_GAP = 2
_SUMMARY = ("sandbox", "limits")
"""Facts that are shown first."""
_LEAST_IMAGE = 16
_DIGEST = re.compile(r"(?:sha256:)?\b([0-9a-f]{12})[0-9a-f]{52}\b")
"""Shortened as engines do; whole in `tidegate server show --json`."""


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    give: Callable[[ServerStatus], str]
    keep: int
    """The lowest goes first where there is too little room."""


def whole(told: Status, width: int, *, facts: bool) -> RenderableType:
    """Give all that is shown of a gateway's servers."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = [Text(harmless(_head(told)), overflow="fold")]
    lines += [Text(harmless(line), overflow="fold") for line in _settings(told)]
    for each in told.endpoints:
        servers = ", ".join(each.servers) or "no servers"
        lines.append(Text(harmless(f"  {each.path}: {servers} (names: {each.names})"), overflow="fold"))
    if not told.servers:
        return Group(*lines, Text("no servers are declared"))
    lines.append(servers_table(told.servers, width))
    for server in told.servers:
        if said := reason(server):
            lines.append(Text(harmless(f"  {server.name}: {said}"), overflow="fold"))
    if facts and any(server.workloads for server in told.servers):
        workloads = [each for server in told.servers for each in server.workloads]
        lines += [Text(""), workloads_table(workloads), Text(""), holds_table(workloads)]
    return Group(*lines)


def _settings(told: Status) -> list[str]:
    """Say where the settings in force are not the file's."""
    settings = told.settings
    if settings.problems:
        why = [f"  {problem}" for problem in settings.problems[:_MISTAKES]]
        more = len(settings.problems) - len(why)
        return [
            f"settings: version {settings.version} stays in force, the file was not taken:",
            *why,
            *([f"  and {more} more (tidegate check)"] if more else []),
        ]
    if settings.in_place_of_the_file:
        return [f"settings: version {settings.version}, put in place of the file until that changes"]
    return []


def servers_table(servers: Sequence[ServerStatus], width: int) -> Table:
    """Give the table of servers, with as many columns as there is room for."""
    columns = [column for column in _COLUMNS if column.name != "IMAGE"]
    needed = {column.name: _needed(column, servers) for column in columns}
    while len(columns) > 2 and sum(needed[c.name] + _GAP for c in columns) > width:
        columns.remove(min(columns, key=lambda column: column.keep))
    left = width - sum(needed[c.name] + _GAP for c in columns)
    image = next(column for column in _COLUMNS if column.name == "IMAGE")
    room = min(left - _GAP, _needed(image, servers))
    if len(columns) == len(_COLUMNS) - 1 and room >= min(_LEAST_IMAGE, _needed(image, servers)):
        columns.insert(len(columns) - 1, image)
    rows = table(*(column.name for column in columns))
    for server in servers:
        cells: list[str] = []
        for column in columns:
            text = column.give(server)
            shown = cell(_cut(text, room) if column is image else text)
            if column.name == "STATE":
                shown = f"[{_COLOURS.get(server.state, 'yellow')}]{shown}[/]"
            cells.append(shown)
        rows.add_row(*cells)
    return rows


def workloads_table(workloads: Sequence[WorkloadStatus]) -> Table:
    """Give the table of workloads."""
    rows = table("WORKLOAD", "STATE", "HEALTH", "AGE", "CALLS", "IN FLIGHT", "RESTARTS", "MEMORY")
    for each in workloads:
        colour = _COLOURS.get(each.state, "yellow")
        health = f"[{_COLOURS.get(each.health, 'yellow')}]{cell(each.health)}[/]"
        memory = "-" if each.usage is None else size(each.usage.memory)
        counts = (str(each.calls), str(each.in_flight), str(each.restarts), memory)
        rows.add_row(cell(each.id), f"[{colour}]{cell(each.state)}[/]", health, age(each.started), *counts)
    return rows


def holds_table(workloads: Sequence[WorkloadStatus]) -> Table:
    """Give what holds for each workload: the reason of its state, its sandbox and limits, and all else."""
    rows = table("WORKLOAD", "HOLDS")
    for each in workloads:
        told = each.facts
        lines = [each.reason, each.health_reason, *(told.get(name) for name in _SUMMARY)]
        lines += [f"{name}: {value}" for name, value in sorted(told.items()) if name not in _SUMMARY]
        rows.add_row(cell(each.id), cell("\n".join(line for line in lines if line)) or "-")
    return rows


def reason(server: ServerStatus) -> str:
    """Say why a server is not as it should be, and what becomes of it."""
    again = f"tried again in {span(server.retry_in)}" if server.retry_in else ""
    rollout = f"rollout: {server.rollout}" if server.rollout else ""
    return "; ".join(part for part in (server.reason, again, rollout) if part)


def span(seconds: float) -> str:
    """Say a time in its largest unit."""
    whole_seconds = max(0, round(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole_seconds >= 2 * length:
            return f"{whole_seconds // length} {unit}"
    return f"{whole_seconds} s"


def age(started: float | None) -> str:
    """Say how long ago that was, by this machine's clock."""
    return "-" if started is None else span(time.time() - started)


def size(count: float) -> str:
    """Say a number of bytes in its largest unit."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def latency(seconds: float | None) -> str:
    """Say a latency in milliseconds, or seconds where it is long."""
    if seconds is None:
        return "-"
    if seconds >= 10:
        return f"{seconds:.0f} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"


def _head(told: Status) -> str:
    health = "draining" if told.draining else "ready" if told.ready else "not ready"
    since = f", up {age(told.started)}" if told.started else ""
    return f"tidegate {told.version} at {told.url}: {health}{since}"


def _replicas(server: ServerStatus) -> str:
    found = server.replicas
    bounds = "" if found.min == found.max else f" ({found.min}-{found.max})"
    return f"{found.ready}/{found.wanted}{bounds}"


def _busy(server: ServerStatus) -> str:
    return f"{server.in_flight} +{server.waiting}" if server.waiting else str(server.in_flight)


def _latencies(server: ServerStatus) -> str:
    return "-" if server.p50 is None else f"{latency(server.p50)} / {latency(server.p95)}"


_COLUMNS = (
    _Column("SERVER", lambda server: server.name, 99),
    _Column("STATE", lambda server: server.state, 98),
    _Column("REPLICAS", _replicas, 90),
    _Column("IN FLIGHT", _busy, 80),
    _Column("P50 / P95", _latencies, 70),
    _Column("RESTARTS", lambda server: str(server.restarts), 40),
    _Column("MEMORY", lambda server: "-" if server.memory is None else size(server.memory), 50),
    _Column("IMAGE", lambda server: _DIGEST.sub(r"\1", server.image or server.launch), 10),
    _Column("AGE", lambda server: age(server.since), 30),
)


def _needed(column: _Column, servers: Sequence[ServerStatus]) -> int:
    return max(len(column.name), *(len(harmless(column.give(server))) for server in servers))


def _cut(text: str, room: int) -> str:
    """Shorten in the middle: the name at the front and the digest at the end both tell."""
    text = harmless(text)
    if len(text) <= room or room < 3:
        return text
    front = (room - 1) * 2 // 3
    return f"{text[:front]}…{text[len(text) - (room - 1 - front) :]}"
