"""A real gateway that has no memory to give says so, with numbers; what runs goes on, and what is seen is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from tests.integration.gateway.gateway import Gateway, Wire, server

Make = Callable[..., Gateway]


async def test_a_start_for_which_there_is_no_memory_is_refused_before_the_kernel_decides(
    gateway: Make,
) -> None:
    made = gateway(servers={"old": server("legacy_stdio", sharing="session")}).until_servers(old="ready")
    first = await Wire(made.url()).open()
    assert await first.text("old__counter") == "1"
    declared = made.config.read_text()
    made.config.write_text(f"limits: {{memory_reserve: 1024TiB}}\n{declared}")
    await reload(made)
    second = await Wire(made.url()).open()
    refused = (await second.call("old__counter"))["error"]
    assert refused["code"] == -31006
    assert refused["data"]["retryAfter"] > 0
    assert "too little memory to start server old" in refused["message"]
    assert await first.text("old__counter") == "2"
    assert made.server("old")["restarts"] == 0
    assert '"host.memory_short"' in made.said()
    made.config.write_text(declared)
    await reload(made)
    assert await second.text("old__counter") == "1"
    advised = await asyncio.to_thread(made.command, "servers", "--advice", "--json")
    (told,) = json.loads(advised.stdout)["advice"]
    assert (told["server"], told["memory_advised"]) == ("old", None)


async def reload(made: Gateway) -> None:
    """Have it take its settings."""
    done = await asyncio.to_thread(made.command, "reload")
    assert done.returncode == 0, done.stderr
