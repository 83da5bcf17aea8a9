"""Companions on a real engine: started in order, probed, reached by name alone, and ended with their server."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.docker.base import SETTINGS, docker_bench, engine, eventually, python_base
from tests.integration.docker.data import Talk, beside, database, left, named, start
from tests.integration.docker.test_http import answer
from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Image, Limits, Sharing, Timeouts, Transport, Volume
from tidegate.extensions.runtimes.docker import DOCKER
from tidegate.extensions.runtimes.docker.bandwidth import see_it_can_be_held
from tidegate.ports.extension import Surroundings
from tidegate.ports.runtime import KeepsVolumes, Measures
from tidegate.testing.runtime_contract import Bench, Heard, nothing_said

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

SERVE = """
import http.server, socket
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            with socket.create_connection((self.path[1:], 5000), 3) as there:
                there.sendall(b"count"); said = there.recv(100)
        except OSError as error:
            said = type(error).__name__.encode()
        self.send_response(200); self.end_headers(); self.wfile.write(said)
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
"""
"""Asks the database that its path names."""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    instance = secrets.token_hex(8)
    async with docker_bench(tmp_path / "state", instance) as bench:
        yield bench
        await bench.clean()
        runtime = bench.runtime
        assert isinstance(runtime, KeepsVolumes)
        for volume in await runtime.volumes():
            await runtime.remove_volume(volume.name)
    assert await left(instance) == []


async def test_companions_are_started_in_order_each_when_the_one_before_can_be_used(bench: Bench) -> None:
    slow = await database("db", env={"WORD": "first", "SLOW": "0.5"})
    after = await database("cache", env={"WORD": "second", "AFTER": "db"}, probe=("true",), port=None)
    talk = await start(bench, await beside(slow, after))
    assert await talk.ask("db count") == "1 first 65532"
    running = await bench.found(talk.identity)
    assert running is not None
    assert running.facts["companions"] == "db, cache"
    await bench.runtime.stop(talk.identity, 0)
    assert await left(bench.instance) == []


async def test_a_companion_is_all_that_a_server_reaches_and_it_is_confined_like_one(bench: Bench) -> None:
    talk = await start(bench, await beside(await database(limits=Limits(memory=64 << 20, pids=20))))
    async with engine() as opened:
        (name,) = [one for one in await left(bench.instance) if one.endswith("-db")]
        seen = await opened.inspect(name.lstrip("/"))
        bridge = (await opened.networks(f"dev.tidegate.instance={bench.instance}"))[0]
    assert await talk.ask("db count") == "1 quiet 65532"
    first = str(ipaddress.ip_network(bridge["IPAM"]["Config"][0]["Subnet"])[1])
    for elsewhere in ("172.17.0.1", first, "example.org"):
        assert await talk.ask(f"{elsewhere} ssh") in ("TimeoutError", "OSError", "gaierror")
    host = seen["HostConfig"]
    assert (host["CapDrop"], host["ReadonlyRootfs"], host["Memory"], host["PidsLimit"]) == (
        ["ALL"],
        True,
        64 << 20,
        20,
    )
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert "quiet" not in str(seen["Config"]["Labels"]) + str(seen["Args"])


async def test_one_that_cannot_be_used_in_time_fails_the_start_and_leaves_nothing(bench: Bench) -> None:
    spec = await beside(await database(port=5001), timeouts=Timeouts(start=6))
    heard = Heard()
    with pytest.raises(
        RuntimeFailure, match=r"companion db of server tested could not be used in time: its probe"
    ):
        await bench.runtime.start(spec, named(bench, spec), heard)
    assert heard.err == b"companion db: listening\n"
    assert await left(bench.instance) == []


async def test_a_start_that_is_broken_off_ends_what_it_began(bench: Bench) -> None:
    spec = await beside(await database(), await database("never", port=5001))
    starting = asyncio.create_task(bench.runtime.start(spec, named(bench, spec), Heard()))

    async def both_run() -> bool:
        return sum(one.startswith("/") for one in await left(bench.instance)) == 2

    await eventually(both_run)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await left(bench.instance) == []


async def test_a_server_that_listens_is_reached_beside_its_companions_too(bench: Bench) -> None:
    spec = await beside(await database())
    image = await python_base()
    launch = Image(image, ("-u", "-c", SERVE), ("python3",), transport=Transport.HTTP)
    spec = replace(spec, launch=launch)
    await bench.runtime.prepare(spec, nothing_said)
    running = await bench.runtime.start(spec, named(bench, spec), Heard())
    assert await answer(running.address, "db") == "1 quiet 65532"


async def test_one_that_ends_before_it_can_be_used_is_told_with_its_status(bench: Bench) -> None:
    spec = await beside(await database(env={"AFTER": "db"}))
    heard = Heard()
    with pytest.raises(RuntimeFailure, match=r"companion db of server tested ended .*: exited with status 1"):
        await bench.runtime.start(spec, named(bench, spec), heard)
    assert b"companion db: ConnectionRefusedError" in heard.err
    assert await left(bench.instance) == []


async def test_a_companion_that_ends_costs_its_server_and_the_reason_says_so(bench: Bench) -> None:
    spec = await beside(await database())
    talk = await start(bench, spec)
    await talk.ask("db end")
    await talk.heard.until(lambda h: bool(h.reasons))
    assert talk.heard.reasons == ["companion db exited with status 3"]
    with pytest.raises(RuntimeFailure, match="companion db exited with status 3"):
        await bench.runtime.attach(spec, talk.identity, Heard())
    await bench.runtime.stop(talk.identity, 0)
    again = await start(bench, spec)
    assert await again.ask("db count") == "1 quiet 65532"


async def test_workloads_of_a_shared_server_have_one_set_that_ends_with_the_last(bench: Bench) -> None:
    spec = await beside(await database(), sharing=Sharing.SHARED)
    first = await start(bench, spec)
    second = await start(bench, replace(spec, env={"OTHER": "version"}), "shared~2")
    assert await first.ask("db count") == "1 quiet 65532"
    assert await second.ask("db count") == "2 quiet 65532"
    runtime = bench.runtime
    assert isinstance(runtime, Measures)
    used = await runtime.usage([first.identity, second.identity])
    assert sorted(usage.companions > 0 for usage in used.values()) == [False, True]
    with pytest.raises(RuntimeFailure):  # there is one of that name, which keeps what it has
        await bench.runtime.start(spec, second.identity, Heard())
    await bench.runtime.stop(first.identity, 0)
    assert await second.ask("db count") == "3 quiet 65532"
    await bench.runtime.stop(second.identity, 0)
    assert await left(bench.instance) == []


async def test_a_gateway_that_was_killed_leaves_nothing_that_is_not_taken_up_or_removed(
    bench: Bench, tmp_path: Path
) -> None:
    spec = await beside(await database())
    around = Surroundings(tmp_path / "state", bench.instance)
    async with DOCKER.open(SETTINGS, around) as killed:
        before = Bench(killed, bench.instance, bench.spec_of, reattaches=True)
        adopted, orphan = await start(before, spec), await start(before, spec)
    async with engine() as opened:
        await opened.remove(orphan.identity.id)
    seen = {one.identity.id: one for one in await bench.runtime.observe()}
    assert seen.pop(adopted.identity.id).running
    heard = Heard()
    running = await bench.runtime.attach(spec, adopted.identity, heard)
    talk = Talk(adopted.identity, running.stream, heard)
    assert await talk.ask("db count") == "1 quiet 65532"
    (found,) = seen.values()
    assert not found.running
    await bench.runtime.stop(found.identity, 0)
    assert len(await left(bench.instance)) == 3
    await bench.runtime.stop(adopted.identity, 0)
    assert await left(bench.instance) == []


async def test_another_version_takes_the_data_over_and_the_old_one_is_told(bench: Bench) -> None:
    volume = Volume("data", "/kept")
    spec = await beside(await database(volumes=(volume,)), sharing=Sharing.SHARED)
    changed = await beside(await database(volumes=(volume,), env={"WORD": "new"}), sharing=Sharing.SHARED)
    old = await start(bench, spec)
    assert await old.ask("db count") == "1 quiet 65532"
    new = await start(bench, changed)
    assert await new.ask("db count") == "2 new 65532"
    await old.heard.until(lambda h: bool(h.reasons))
    assert "replaced by those of another version" in old.heard.reasons[0]
    with pytest.raises(RuntimeFailure, match="replaced by those of another version"):
        await bench.runtime.start(spec, named(bench, spec), Heard())
    await bench.runtime.stop(old.identity, 0)
    assert await new.ask("db count") == "3 new 65532"
    await bench.runtime.stop(new.identity, 0)
    assert await (await start(bench, spec)).ask("db count") == "4 quiet 65532"


async def test_a_bandwidth_is_held_in_both_directions_or_the_server_is_refused(bench: Bench) -> None:
    spec = await beside(await database(), limits=Limits(bandwidth=1 << 20))
    async with engine() as opened:
        try:
            await see_it_can_be_held(opened)
        except RuntimeFailure as error:
            with pytest.raises(RuntimeFailure, match=r"limits\.bandwidth cannot be held"):
                await bench.runtime.prepare(spec, nothing_said)
            pytest.skip(str(error))
    talk = await start(bench, spec)
    clock = asyncio.get_running_loop().time
    began = clock()
    await talk.ask(f"db take{1 << 20}")
    assert clock() - began > 0.5
