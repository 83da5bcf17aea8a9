"""Servers with a list of destinations and companions, on a real engine, against a world of their own."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.docker import outside
from tests.integration.docker.base import SETTINGS, docker_bench, engine, python_base
from tests.integration.docker.data import beside, database, left, named
from tests.integration.docker.outside import NAMES, OTHER, OTHER_PORT, PORT
from tests.integration.docker.test_companions import SERVE
from tests.integration.docker.test_egress import LIST, PROBE, Probe, allowed
from tests.integration.docker.test_http import answer
from tidegate.domain.server import Companion, Image, ServerSpec, Transport
from tidegate.domain.workload import WorkloadIdentity
from tidegate.extensions.runtimes.docker import DOCKER
from tidegate.extensions.runtimes.docker.egress.parts import outlet_name
from tidegate.ports.extension import Surroundings
from tidegate.ports.runtime import Connection, Measures, TellsConnections
from tidegate.testing.runtime_contract import Heard, nothing_said

pytestmark = [
    pytest.mark.docker,
    pytest.mark.root,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(outside.missing() is not None, reason=str(outside.missing())),
]

TRIES, _, LOOP = PROBE.partition("for line in")
SERVER = f"""{TRIES.replace("10)", "5)")}
def dns(server, name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(3); s.connect((server, 53))
        parts = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
        s.send(b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + parts + b"\\0\\0\\1\\0\\1")
        return f"answered {{s.recv(512)[3] & 15}}"

def own(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((name, 5000))
        return s.getsockname()[0]

def bound(source, host, port):
    with socket.create_connection((host, int(port)), 5, (source, 0)) as s:
        s.sendall(b"hello")
        return "got " + s.recv(100).decode()

{_}{LOOP}"""
COMPANION = f"""{TRIES.replace("10)", "4)")}
from concurrent.futures import ThreadPoolExecutor

def tried(asked):
    what, *words = asked.split("/")
    try: return globals()[what](*words).split()[0]
    except OSError as error: return error.__class__.__name__

listening = socket.create_server(("0.0.0.0", 5000))
while True:
    there, _ = listening.accept()
    with there:
        asked = there.recv(1000).decode().split(",")
        with ThreadPoolExecutor(len(asked)) as threads:
            there.sendall(",".join(set(threads.map(tried, asked))).encode())
"""
"""Does what it is asked over its port, all at once, and answers what came of it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def probe(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Probe]:
    settings = SETTINGS.model_copy(update={"resolvers": (NAMES,)})
    state, instance = tmp_path_factory.mktemp("state"), secrets.token_hex(8)
    async with outside.outside() as world, docker_bench(state, instance, settings) as bench:
        told: list[tuple[WorkloadIdentity, Connection]] = []
        assert isinstance(bench.runtime, TellsConnections)
        bench.runtime.tell_connections(lambda identity, seen: told.append((identity, seen)) is None)
        spec, heard = await with_both(), Heard()
        await bench.runtime.prepare(spec, nothing_said)
        running = await bench.runtime.start(spec, bench.identity(spec), heard)
        yield Probe(bench, world, running, heard, told)
        await bench.clean()
        assert await left(instance) == []


async def with_both() -> ServerSpec:
    beside = Companion("db", await python_base(), ("-u", "-c", COMPANION), ("python3",), port=5000)
    return await allowed(SERVER, LIST, companions=(beside,))


async def test_a_server_reaches_its_companion_by_name_and_what_its_list_names_and_nothing_else(
    probe: Probe,
) -> None:
    assert await probe.does("tcp", "db", 5000, "ask/localhost") == "got is"
    assert await probe.does("tcp", "api.example.test", PORT) == "got hello"
    assert (await probe.was_told(True, name="api.example.test")).address == NAMES
    assert sorted((await probe.does("links")).split(",")) == ["eth0", "lo", "tide0"]
    own = await probe.does("own", "db")
    first = str(ipaddress.ip_network(f"{own}/25", strict=False)[1])
    seen = len(probe.world.seen)
    for words in (
        ("tcp", "other.test", PORT),
        ("tcp", "api.example.test", OTHER_PORT),
        ("tcp", OTHER, PORT),
        ("tcp", "169.254.169.254", 80),
        ("tcp", "172.17.0.1", 22),
        ("tcp", first, 22),
        ("udp", NAMES, 53),
        ("udp", first, 53),
        ("dns", "127.0.0.11", "leak.evil.test"),
        ("bound", own, NAMES, OTHER_PORT),
        ("six", "2001:db8::1", PORT),
    ):
        said = await probe.does(*words)
        assert "got" not in said, words
        assert "answered 0" not in said, words
    assert probe.world.seen[seen:] == []


async def test_a_companion_beside_a_list_reaches_nothing_outside(probe: Probe) -> None:
    async with engine() as opened:
        seen = await opened.inspect(outlet_name(probe.running.identity.id))
    (outlet,) = seen["NetworkSettings"]["Networks"].values()
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", OTHER_PORT)
    async with listening:
        at = len(probe.world.seen)
        tries = (
            f"tcp/{NAMES}/{OTHER_PORT}",
            f"tcp/{OTHER}/{PORT}",
            f"tcp/{outside.HERE}/{OTHER_PORT}",
            f"tcp/{outlet['Gateway']}/{OTHER_PORT}",
            f"tcp/{outlet['IPAddress']}/{PORT}",
            f"tcp/100.127.255.1/{PORT}",
            f"tcp/api.example.test/{PORT}",
            "tcp/169.254.169.254/80",
            f"udp/{NAMES}/53",
        )
        said = (await probe.does("tcp", "db", 5000, ",".join(tries))).removeprefix("got ").split(",")
        assert set(said) <= {"OSError", "gaierror", "TimeoutError"}
        assert probe.world.seen[at:] == []


async def test_a_server_that_listens_beside_companions_is_reached_and_reaches_this_machine_nowhere(
    probe: Probe,
) -> None:
    image = await python_base()
    launch = Image(image, ("-u", "-c", SERVE), ("python3",), transport=Transport.HTTP)
    spec = replace(await beside(await database("tested")), launch=launch)
    await probe.bench.runtime.prepare(spec, nothing_said)
    running = await probe.bench.runtime.start(spec, named(probe.bench, spec), Heard())
    assert str(running.address).startswith("http://127.0.0.1:")
    assert await answer(running.address, "tested") == "1 quiet 65532"
    assert await answer(running.address, "172.17.0.1") == "OSError"
    await probe.bench.runtime.stop(running.identity, 0)


async def test_a_gateway_that_comes_after_takes_both_up_or_removes_what_is_left_of_them(
    probe: Probe, tmp_path: Path
) -> None:
    around, spec = Surroundings(tmp_path, secrets.token_hex(8)), await with_both()
    async with DOCKER.open(SETTINGS, around) as before:
        identity = replace(probe.running.identity, id="tg-tested-again", instance=around.instance)
        probe.bench.started.append(identity)  # whatever becomes of this test
        await before.start(spec, identity, Heard())
    async with DOCKER.open(SETTINGS, around) as after:
        [found] = await after.observe()
        assert found.running
        heard = Heard()
        again = Probe(probe.bench, probe.world, await after.attach(spec, found.identity, heard), heard)
        assert await again.does("tcp", "db", 5000, "ask/localhost") == "got is"
        async with engine() as opened:  # as a gateway that ended in the midst of a start leaves it
            await opened.remove(found.identity.id)
    async with DOCKER.open(SETTINGS, around) as last:
        while seen := await last.observe():
            assert not any(one.running for one in seen)
            for one in seen:
                await last.stop(one.identity, 0)
    assert await left(around.instance) == []


async def test_what_goes_through_an_outlet_counts_as_the_servers_own(probe: Probe) -> None:
    assert await probe.does("much", "api.example.test", PORT, 3_000_000) == "got 3000000"
    runtime, identity = probe.bench.runtime, probe.running.identity
    assert isinstance(runtime, Measures)
    used = (await runtime.usage([identity]))[identity.id]
    assert 3_000_000 < used.rx < 6_000_000
    assert 3_000_000 < used.tx < 6_000_000
    assert used.companions > 0
    await runtime.stop(identity, 0)
    assert await left(probe.bench.instance) == []
