"""Workloads that belong to one session: there is one for each, and it ends with it."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from tests.integration.gateway.gateway import Gateway, Wire, server, until

pytestmark = pytest.mark.timeout(120)
Make = Callable[..., Gateway]


async def end(wire: Wire) -> int:
    """End a session as a client does, and give the status."""
    headers, _ = wire.request("ping", {}, 1)
    async with httpx2.AsyncClient() as http:
        return (await http.delete(wire.url, headers=headers)).status_code


async def test_a_session_that_is_ended_takes_its_workload_with_it(gateway: Make) -> None:
    made = gateway(servers={"own": server("legacy_stdio", sharing="session")}).until_servers(own="ready")
    one, other = await Wire(made.url()).open(), await Wire(made.url()).open()
    assert await one.text("own__counter") == "1"
    assert await other.text("own__counter") == "1"
    assert len(made.server("own")["workloads"]) == 2
    assert await end(one) == 200
    await until(lambda: len(made.server("own")["workloads"]) == 1, "the session's workload to end")
    assert await other.text("own__counter") == "2"
    await until(lambda: len(made.pids()) == 1, "its process to be gone")
    made.check_end()


async def test_as_many_sessions_as_one_likes_may_follow_each_other(gateway: Make) -> None:
    made = gateway(
        servers={"own": server("legacy_stdio", sharing="session")}, limits={"workloads_per_principal": 2}
    )
    made.until_servers(own="ready")
    for _ in range(6):
        wire = await Wire(made.url()).open()
        assert await wire.text("own__counter") == "1"
        assert await end(wire) == 200
        await until(lambda: not made.server("own")["workloads"], "the session's workload to end")
    made.check_end()
