"""An engine that is restarted, killed or hangs while calls are under way."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.integration.faults.contained import contained, containers, image, inspect, the_workload
from tests.integration.faults.own_engine import OwnEngine, own_engine
from tests.integration.gateway.gateway import Gateway, Wire, server, until

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.timeout(400)]
Make = Callable[..., Gateway]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that images are handed over in."""
    return tmp_path_factory.mktemp("images") / "python.tar"


@pytest.fixture
def engine(request: pytest.FixtureRequest, saved: Path) -> Iterator[OwnEngine]:
    """An engine of the test's own, with the image; `request.param` is whether it restores."""
    for program in ("dockerd", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"an engine of the test's own needs {program}")
    with own_engine(live_restore=request.param) as engine:
        engine.load(image(), saved)
        yield engine


def of_engine(engine: OwnEngine, gateway: Make, **more: Any) -> Gateway:
    """Make a gateway with servers on that engine, and one that has nothing to do with it."""
    servers = {"old": contained("legacy_stdio"), "good": server("legacy_stdio"), **more}
    settings = {"docker": {"socket": engine.url, "deadlines": {"call": 3}}}
    made = gateway(runtimes=settings, servers=servers)
    return made.until_servers(**dict.fromkeys(servers, "ready"))


async def said_to_be_away(made: Gateway) -> None:
    """See that everybody who asks is told that the engine is away, and that others are served."""
    await until(lambda: made.server("old")["state"] != "ready", "it to be noticed")
    await until(lambda: "engine" in (made.server("old")["reason"] or ""), "the reason")
    wire = await Wire(made.url()).open()
    refused = await wire.call("old__echo", {"text": "x"})
    assert refused["error"]["code"] == -31001, refused
    assert "engine" in refused["error"]["message"]
    async with httpx2.AsyncClient() as http:
        ready = await http.get(f"{made.base}/readyz")
    assert ready.status_code == 200
    assert "engine" in ready.json()["servers"]["old"]["reason"]
    assert await wire.text("good__echo", {"text": "y"}) == "y"


@pytest.mark.parametrize("engine", [True], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_workloads_survive_an_engine_that_restores_and_are_attached_to_again(
    engine: OwnEngine, gateway: Make, number: int
) -> None:
    made = of_engine(engine, gateway)
    wire = await Wire(made.url()).open()
    assert await wire.text("old__counter") == "1"
    before = the_workload(made, "old")
    pid = inspect(before, "--host", engine.url)["State"]["Pid"]
    slow = asyncio.create_task(wire.call("old__slow", {"seconds": 60}))
    await until(lambda: made.server("old")["workloads"][0]["in_flight"], "the call to be under way")
    await asyncio.to_thread(engine.end, number)
    async with asyncio.timeout(10):
        assert (await slow)["error"]["code"] == -31002
    await said_to_be_away(made)
    await asyncio.to_thread(engine.start)
    await until(lambda: made.server("old")["state"] == "ready", "it to be back")
    assert the_workload(made, "old") == before
    assert inspect(before, "--host", engine.url)["State"]["Pid"] == pid
    assert await wire.text("old__counter") == "2"
    made.check_end()
    assert containers(made, "--host", engine.url) == []


@pytest.mark.parametrize("engine", [False], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_workloads_that_ended_with_their_engine_are_started_again(
    engine: OwnEngine, gateway: Make, number: int
) -> None:
    made = of_engine(engine, gateway)
    wire = await Wire(made.url()).open()
    assert await wire.text("old__counter") == "1"
    before = the_workload(made, "old")
    slow = asyncio.create_task(wire.call("old__slow", {"seconds": 60}))
    await until(lambda: made.server("old")["workloads"][0]["in_flight"], "the call to be under way")
    await asyncio.to_thread(engine.end, number)
    async with asyncio.timeout(10):
        assert (await slow)["error"]["code"] == -31002
    await said_to_be_away(made)
    await asyncio.to_thread(engine.start)
    await until(lambda: made.server("old")["state"] == "ready", "it to be back")
    assert (await wire.call("old__counter"))["error"]["code"] == -31005
    assert await wire.text("old__counter") == "1"
    await until(lambda: before not in containers(made, "--host", engine.url), "the old one to be removed")
    made.check_end()
    assert containers(made, "--host", engine.url) == []


@pytest.mark.parametrize("engine", [True], indirect=True)
async def test_an_engine_that_hangs_costs_its_own_servers_only(engine: OwnEngine, gateway: Make) -> None:
    made = of_engine(engine, gateway, two=contained("legacy_stdio", timeouts={"call": 2}))
    wire = await Wire(made.url()).open()
    assert await wire.text("two__counter") == "1"
    engine.freeze()
    late = asyncio.create_task(wire.call("two__counter"))
    for number in range(20):
        async with asyncio.timeout(2):
            assert await wire.text("good__echo", {"text": str(number)}) == str(number)
    async with asyncio.timeout(15):
        assert (await late)["error"]["code"] in (-31002, -31004)
    engine.thaw()
    await until(lambda: made.server("two")["state"] == "ready", "it to be back")
    answered = await wire.call("two__echo", {"text": "x"})
    if "error" in answered:  # it was replaced: said once
        assert answered["error"]["code"] == -31005
        assert await wire.text("two__echo", {"text": "x"}) == "x"
    made.check_end()
    assert containers(made, "--host", engine.url) == []


@pytest.mark.parametrize("engine", [True], indirect=True)
async def test_a_gateway_started_while_its_engine_is_away_serves_and_takes_it_up(
    engine: OwnEngine, gateway: Make
) -> None:
    made = of_engine(engine, gateway)
    made.stop()
    await asyncio.to_thread(engine.end)
    made.start().until_servers(good="ready")
    await said_to_be_away(made)
    wire = await Wire(made.url()).open()
    await asyncio.to_thread(engine.start)
    await until(lambda: made.server("old")["state"] == "ready", "it to be taken up")
    assert await wire.text("old__echo", {"text": "x"}) == "x"
    made.check_end()
    assert containers(made, "--host", engine.url) == []


@pytest.mark.parametrize("engine", [True], indirect=True)
async def test_a_gateway_stopped_while_its_engine_is_away_removes_its_containers_next_time(
    engine: OwnEngine, gateway: Make
) -> None:
    made = of_engine(engine, gateway)
    before = the_workload(made, "old")
    await asyncio.to_thread(engine.end)
    assert made.stop() == 0
    await asyncio.to_thread(engine.start)
    made.start().until_servers(old="ready")
    wire = await Wire(made.url()).open()
    assert await wire.text("old__echo", {"text": "x"}) == "x"
    await until(lambda: len(containers(made, "--host", engine.url)) == 1, "one container")
    made.check_end()
    assert containers(made, "--host", engine.url) == [], before


@pytest.mark.parametrize("engine", [True], indirect=True)
async def test_a_gateway_stops_in_time_though_its_engine_hangs_and_the_next_one_clears_up(
    engine: OwnEngine, gateway: Make
) -> None:
    made = of_engine(engine, gateway)
    engine.freeze()
    began = time.monotonic()
    assert await asyncio.to_thread(made.stop) == 0
    assert time.monotonic() - began < 22
    assert "Traceback" not in made.said(), made.said()[-3000:]
    assert "exception was never retrieved" not in made.said(), made.said()[-3000:]
    assert '"workload.stop_failed"' in made.said()
    engine.thaw()
    made.start().until_servers(old="ready")
    await until(lambda: len(containers(made, "--host", engine.url)) == 1, "one container")
    wire = await Wire(made.url()).open()
    assert await wire.text("old__echo", {"text": "x"}) == "x"
    made.check_end()
    assert containers(made, "--host", engine.url) == []
