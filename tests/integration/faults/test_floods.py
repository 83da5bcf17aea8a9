"""Servers that write without end, or never read: bounded in memory, ended, and no trouble to others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.integration.faults.contained import contained, containers
from tests.integration.faults.test_edge import memory, served
from tests.integration.gateway.gateway import Gateway, Wire, server, until

pytestmark = pytest.mark.timeout(180)
Make = Callable[..., Gateway]
HOW = pytest.mark.parametrize("how", ["process", pytest.param("container", marks=pytest.mark.docker)])


def made_of(how: str, name: str, *arguments: str, **settings: object) -> dict[str, object]:
    """Declare a test server as a process or as a container."""
    if how == "container":
        return contained(name, *arguments, **settings)
    return server(name, *arguments, **settings)


@HOW
@pytest.mark.parametrize("way", ["floods-bytes", "floods-lines", "floods-stderr"])
async def test_a_server_that_floods_is_bounded_and_others_are_served(
    gateway: Make, how: str, way: str
) -> None:
    bad = made_of(how, "broken", way, "--after", "3", timeouts={"call": 3}, stateless=True)
    made = gateway(servers={"bad": bad, "old": server("legacy_stdio")}).until_servers(
        bad="ready", old="ready"
    )
    await served(made, 2)
    before = memory(made)
    wire = Wire(made.url(), modern=True)
    flooding = asyncio.create_task(wire.call("bad__echo", {"text": "x"}))
    grown = 0.0
    began = time.monotonic()
    while time.monotonic() < began + 5:
        await served(made, 1)
        grown = max(grown, memory(made) - before)
    message = await flooding
    if way == "floods-stderr":
        assert message["result"]["content"][0]["text"] == "x"
    else:
        assert message["error"]["code"] in (-31002, -31004), message
    assert grown < 60, f"grew by {grown:.0f} MB"
    made.check_end()
    if how == "container":
        assert containers(made) == []


@HOW
async def test_a_server_that_never_reads_has_a_bounded_backlog(gateway: Make, how: str) -> None:
    bad = made_of(how, "broken", "deaf", "--after", "3", timeouts={"call": 4}, stateless=True)
    made = gateway(servers={"bad": bad, "old": server("legacy_stdio")}, limits={"body": "2MiB"})
    made.until_servers(bad="ready", old="ready")
    await served(made, 2)
    before = memory(made)
    wire = Wire(made.url(), modern=True)
    calls = [asyncio.create_task(wire.call("bad__echo", {"text": "x" * 1_500_000})) for _ in range(24)]
    await until(lambda: made.status()["in_flight"], "the calls to be under way")
    grown = 0.0
    while not all(call.done() for call in calls):
        await served(made, 1)
        grown = max(grown, memory(made) - before)
    codes = {(await call).get("error", {}).get("code", "ok") for call in calls}
    assert codes <= {-31001, -31002, -31004, "ok"}, codes  # the one that replaces it answers a first call
    assert -31001 in codes, "none was refused for the backlog"
    assert grown < 120, f"grew by {grown:.0f} MB"
    await until(lambda: made.server("bad")["state"] == "ready", "it to be replaced")
    made.check_end()
