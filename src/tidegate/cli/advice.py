"""`tidegate servers --advice`: what each server's workloads should be given, by what they were seen to use."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tidegate.cli.output import cell, out, say, table, write, write_json
from tidegate.domain.errors import TidegateError

if TYPE_CHECKING:
    from rich.table import Table

_MIB = 1024 * 1024
_T = TypeVar("_T")


class AdviceStatus(msgspec.Struct, frozen=True):
    """What is recommended for a server, as the gateway tells it."""

    server: str
    looks: int = 0
    killed: int = 0
    memory: int = 0
    memory_p95: int = 0
    memory_highest: int = 0
    memory_advised: int | None = None
    cpus: float = 0.0
    cpus_p95: float = 0.0
    cpus_advised: float | None = None
    reason: str = ""
    changes: bool = False


class _Advised(msgspec.Struct, frozen=True):
    advice: list[AdviceStatus]


class AppliedStatus(msgspec.Struct, frozen=True):
    """What came of giving a workload other limits."""

    workload: str
    live: bool = False
    reason: str | None = None


class _Done(msgspec.Struct, frozen=True):
    advice: AdviceStatus
    applied: list[AppliedStatus]


def show_advice(state: Path, *, json: bool) -> None:
    """Show what is recommended for each server of the running gateway.

    Raises:
        TidegateError: none runs, or it does not tell.
    """
    body = asyncio.run(_get(state))
    if json:
        write_json(msgspec.json.decode(body))
        return
    told = _decode(body, _Advised).advice
    if not told:
        write("no servers are declared")
        return
    out().print(advice_table(told))
    for each in told:
        if each.reason:
            write(f"  {each.server}: {each.reason}")


def apply_advice(state: Path, server: str, *, json: bool) -> None:
    """Give a server's workloads what is recommended, and say what came of it.

    Raises:
        TidegateError: there is nothing to apply, or no such server.
    """
    body = asyncio.run(_apply(state, server))
    if json:
        write_json(msgspec.json.decode(body))
        return
    done = _decode(body, _Done)
    for each in done.applied:
        write(f"{each.workload}: {'has it now' if each.live else each.reason or 'by rollout'}")
    told = done.advice
    say(
        f"new workloads get it once the settings say so: limits: {{memory: {_size(told.memory_advised or told.memory)}, "
        f"cpus: {told.cpus_advised or told.cpus:g}}}"
    )


def advice_table(told: list[AdviceStatus]) -> Table:
    """Give the table."""
    rows = table("SERVER", "MEMORY", "P95", "HIGHEST", "ADVISED", "CPUS", "P95", "ADVISED", "KILLED", "LOOKS")
    for each in told:
        memory = "-" if each.memory_advised is None else _size(each.memory_advised)
        cpus = "-" if each.cpus_advised is None else f"{each.cpus_advised:g}"
        rows.add_row(
            cell(each.server),
            _size(each.memory),
            _size(each.memory_p95),
            _size(each.memory_highest),
            _marked(memory, marked=each.memory_advised not in (None, each.memory)),
            f"{each.cpus:g}",
            f"{each.cpus_p95:.2f}",
            _marked(cpus, marked=each.cpus_advised not in (None, each.cpus)),
            str(each.killed),
            str(each.looks),
        )
    return rows


def _marked(text: str, *, marked: bool) -> str:
    return f"[yellow]{cell(text)}[/]" if marked else cell(text)


def _size(count: int) -> str:
    return f"{count / _MIB:.0f}MiB" if count >= _MIB or not count else f"{count / 1024:.0f}KiB"


async def _get(state: Path) -> bytes:
    from tidegate.cli import control

    async with control.connect(state) as session:
        return await control.get(session, "/v1/advice")


async def _apply(state: Path, server: str) -> bytes:
    from tidegate.cli import control

    async with control.connect(state) as session:
        return await control.operate(session, f"/v1/advice/{control.word(server)}", {})


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TidegateError(f"what the gateway recommends cannot be read: {error}") from None
