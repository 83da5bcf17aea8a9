"""Single numbers beside the series: coming up, a long list, an idle session, a session per call."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench import views
from bench.connection import Connection, Failed, connect
from bench.gateway import Mode, remote, serving
from bench.process import http_upstream
from bench.series import Subject, first_answer, one_call
from bench.wire import Era, Requests, decode_list, unframed

LONG_LIST = 10_000
IDLE_SESSIONS = 2_000
SESSION_CALLS = 200


@dataclass(slots=True)
class Single:
    """One number against its limit."""

    name: str
    unit: str
    limit: float | None
    value: float | None = None
    skipped: str | None = None


async def start(place: Path) -> float:
    """Seconds until the gateway answers when nothing behind it can be reached."""
    async with serving(Mode.GOVERNED, remote("http://127.0.0.1:9/mcp")) as gateway:
        return gateway.started


async def long_list(place: Path) -> float:
    """Milliseconds for tools/list of 10,000 tools, all pages, the upstream's list known already.

    From asking for a page until its last byte is there; what the client then makes of it is its own.
    """
    async with http_upstream(place, LONG_LIST) as url, serving(Mode.GOVERNED, remote(url)) as gateway:
        await first_answer(Subject(gateway.target, gateway.program), Era.LEGACY)
        connection, requests = await connect(gateway.target, Era.LEGACY, 0)
        try:
            took: list[float] = []
            for _ in range(20):
                listed, seconds = await all_pages(connection, requests)
                took.append(seconds)
                if listed != LONG_LIST:
                    raise Failed(f"{listed} tools listed instead of {LONG_LIST}")
            return statistics.median(took) * 1e3
        finally:
            connection.close()


async def all_pages(connection: Connection, requests: Requests) -> tuple[int, float]:
    """Count the tools of every page, and the seconds until they were there.

    Raises:
        Failed: a page was refused, or they do not end.
    """
    listed, seconds, cursor = 0, 0.0, None
    for _ in range(LONG_LIST):
        asked, began = requests.list_tools(cursor), time.perf_counter()
        status, body = await connection.ask(asked)
        seconds += time.perf_counter() - began
        if status != 200:
            raise Failed(f"tools/list answered {status}: {body[:200].decode(errors='replace')}")
        page = decode_list(unframed(body)).result
        if page is None:
            raise Failed(f"tools/list was refused: {body[:200].decode(errors='replace')}")
        listed, cursor = listed + len(page.tools), page.nextCursor
        if not cursor:
            return listed, seconds
    raise Failed("the pages of tools/list do not end")


async def idle_session(place: Path) -> float:
    """Kilobytes that a legacy session takes when it was opened and its connection closed."""
    async with http_upstream(place) as url, serving(Mode.GOVERNED, remote(url)) as gateway:
        await first_answer(Subject(gateway.target, gateway.program), Era.LEGACY)
        for number in range(IDLE_SESSIONS // 4):  # what is taken once, is taken before
            (await connect(gateway.target, Era.LEGACY, number))[0].close()
        before = gateway.program.memory()
        for number in range(IDLE_SESSIONS):
            (await connect(gateway.target, Era.LEGACY, number))[0].close()
        return max(0.0, gateway.program.memory() - before) * 1024 / IDLE_SESSIONS


async def session_per_call(place: Path) -> float:
    """Milliseconds (p50) for a connection, a session, one call and the end, all of them each time."""
    async with http_upstream(place) as url, serving(Mode.GOVERNED, remote(url)) as gateway:
        await first_answer(Subject(gateway.target, gateway.program), Era.LEGACY)
        took: list[float] = []
        for number in range(SESSION_CALLS):
            began = time.perf_counter()
            wrong = await one_call(gateway.target, Era.LEGACY, number)
            took.append(time.perf_counter() - began)
            if wrong is not None:
                raise Failed(wrong)
        return statistics.median(took) * 1e3


MEASURES: dict[str, tuple[Single, Callable[[Path], Awaitable[float]]]] = {
    "start": (Single("first answer after start, nothing reachable", "s", 1.0), start),
    "list": (Single("tools/list of 10,000 tools", "ms", 5.0), long_list),
    "views": (Single("a ping while views of 10,000 tools are made, by roles", "ms", 10.0), views.with_roles),
    "policy-views": (
        Single("a ping while views of 10,000 tools are made, by 200 policies", "ms", 10.0),
        views.with_policies,
    ),
    "sessions": (Single("an idle legacy session", "kB", 2.0), idle_session),
    "connect": (Single("a connection, a session and a call, p50", "ms", None), session_per_call),
}


async def single(name: str, place: Path) -> Single:
    """Measure one; what stands in its way is its `skipped`."""
    made, measure = MEASURES[name]
    made = Single(made.name, made.unit, made.limit)
    try:
        async with asyncio.timeout(90):
            made.value = await measure(place)
    except TimeoutError:
        made.skipped = "not done within 90 s"
    except Failed as problem:
        made.skipped = str(problem)
    return made
