"""Requests that follow one another on a connection: each is whose its own credentials say, now."""

from __future__ import annotations

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, Wire, raw_post, tool

WITHOUT = "-"


async def calling(edge: EdgeSetting) -> Wire:
    """Give a connection on which somebody's calls went well, more than once."""
    wire = await edge.connect()
    assert [await status(wire, "ann") for _ in range(3)] == [200, 200, 200]
    return wire


async def status(wire: Wire, who: str) -> int:
    headers, body = tool("one__echo")
    await wire.send(raw_post(body, {**headers, "Authorization": who}))
    return (await wire.read()).status


async def test_who_brings_nothing_after_others_brought_something_is_nobody(listen: Listen) -> None:
    wire = await calling(await listen())
    assert await status(wire, WITHOUT) == 401
    assert await status(wire, "ann") == 200
    await wire.close()


async def test_who_brings_what_is_no_good_after_others_is_nobody(listen: Listen) -> None:
    wire = await calling(await listen())
    assert [await status(wire, who) for who in ("bad", "ann", "bad")] == [401, 200, 401]
    await wire.close()


async def test_what_is_revoked_ends_on_connections_that_it_was_used_on(listen: Listen) -> None:
    edge = await listen()
    wire = await calling(edge)
    edge.gateway.identity.revoke("ann")
    assert await status(wire, "ann") == 401
    assert await status(wire, "bob") == 200
    await wire.close()
