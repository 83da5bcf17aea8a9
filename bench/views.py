"""How long others wait while a principal's view of a long list is made for the first time.

Four principals ask at once who are alike in nothing, so that each view is made. Beside them one client sends one ping after
the other: the longest that one takes is how long the gateway's loop was held, and what a ping takes in any case. That
is done several times, and the least counts: what holds the loop does so each time, what else the machine has to do does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import access, gateway
from bench.connection import Connection, Failed, connect
from bench.gateway import SERVER, Mode
from bench.process import http_upstream
from bench.series import Subject, first_answer
from bench.wire import Era, Requests, Target, decode_list, unframed

TOOLS = 10_000
AT_ONCE = 4
BY_ROLES, BY_POLICIES = 6, 3
"""Times. By policies a view takes a second and more."""
_PAUSE = 0.0005
"""Seconds between two pings."""


async def with_roles(place: Path) -> float:
    """Milliseconds, where roles decide."""
    roles = {
        name: {"allow": [{"servers": [SERVER], "tools": ["tool_*", "echo"]}]} for name in _roles(BY_ROLES)
    }
    return await _measured(place, {"roles": roles}, BY_ROLES)


async def with_policies(place: Path) -> float:
    """Milliseconds, where two hundred Cedar policies do, which read the name of each tool."""
    return await _measured(place, access.with_policies(place), BY_POLICIES)


def _roles(times: int) -> list[str]:
    return [f"r{2 * number + 1}" for number in range(AT_ONCE * times)]


async def _measured(place: Path, settings: gateway.Settings, times: int) -> float:
    key, names = access.new_key(), _roles(times)
    async with access.issuer(key) as url, http_upstream(place, TOOLS) as upstream:
        more = {"auth": [{"type": "keys"}, access.signed_by(url, ["user", *names])], **settings}
        async with gateway.serving(Mode.GOVERNED, gateway.remote(upstream), **more) as running:
            await first_answer(Subject(running.target, running.program), Era.LEGACY)
            signed = access.tokens(key, url, len(names), lambda number: ["user", names[number]])
            connection, requests = await connect(running.target, Era.LEGACY, 0)
            try:
                longest = [
                    await _longest(running.target, signed[at : at + AT_ONCE], connection, requests)
                    for at in range(0, len(signed), AT_ONCE)
                ]
            finally:
                connection.close()
            return min(longest) * 1e3


async def _longest(
    target: Target, signed: Sequence[str], connection: Connection, requests: Requests
) -> float:
    """Give the seconds of the longest ping while these ask for their first list."""
    others = [await connect(replace(target, token=token), Era.MODERN, 1) for token in signed]
    try:
        asking = asyncio.gather(*(each.ask(asked.list_tools()) for each, asked in others))
        longest = await _pinged(connection, requests, asking)
        for status, body in await asking:  # read only now: it takes the client longer than the gateway
            page = decode_list(unframed(body)).result
            if status != 200 or page is None or len(page.tools) != 1000:
                raise Failed(f"tools/list answered {status}: {body[:200].decode(errors='replace')}")
        return longest
    finally:
        for each, _ in others:
            each.close()


async def _pinged(
    connection: Connection, requests: Requests, until: asyncio.Future[list[tuple[int, bytes]]]
) -> float:
    longest, number = 0.0, 0
    while not until.done():
        number += 1
        asked, began = requests.ping(number), time.perf_counter()
        status, body = await connection.ask(asked)
        longest = max(longest, time.perf_counter() - began)
        if status != 200:
            raise Failed(f"ping answered {status}: {body[:200].decode(errors='replace')}")
        await asyncio.sleep(_PAUSE)
    return longest
