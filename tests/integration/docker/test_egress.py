"""Servers with a list of destinations, on a real engine, against a world of their own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast
from urllib.request import urlopen

import pytest
import pytest_asyncio

from tests.integration.docker import connecting, outside
from tests.integration.docker.base import SETTINGS, docker_bench, engine, eventually, python_base
from tests.integration.docker.outside import NAMES, NEVER, OTHER, OTHER_PORT, PORT, Outside
from tests.integration.gateway.gateway import Gateway, Json, Wire, until
from tidegate.domain.server import Image, Network, ServerSpec, Transport
from tidegate.domain.workload import WorkloadIdentity
from tidegate.extensions.runtimes.docker import DOCKER
from tidegate.extensions.runtimes.docker.egress.parts import cell_name, outlet_name
from tidegate.ports.extension import Surroundings
from tidegate.ports.runtime import Connection, Running, TellsConnections
from tidegate.testing.runtime_contract import Bench, Heard, nothing_said

pytestmark = [
    pytest.mark.docker,
    pytest.mark.root,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(outside.missing() is not None, reason=str(outside.missing())),
]

PROBE = """
import socket, sys

def tcp(host, port, word="hello"):
    with socket.create_connection((host, int(port)), 10) as s:
        s.sendall(word.encode()); s.shutdown(socket.SHUT_WR)
        got = b""
        while piece := s.recv(65536): got += piece
        return "got " + got.decode() if len(got) < 100 else f"got {len(got)}"

def much(host, port, size): return tcp(host, port, "x" * int(size))

def udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(10); s.connect((host, int(port))); s.send(b"hello")
        return "got " + repr(s.recv(100))

def http(host, port):
    with socket.create_connection((host, int(port)), 10) as s:
        s.sendall(b"hello\\r\\n\\r\\n")
        got = b""
        while piece := s.recv(65536): got += piece
        return " ".join(got.decode().split())

def six(host, port):
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
        s.settimeout(3); s.connect((host, int(port)))
        return "connected"

def ask(name): return "is " + socket.gethostbyname(name)

def links(): return ",".join(name for _, name in socket.if_nameindex())

for line in sys.stdin:
    what, *words = line.split()
    try: said = globals()[what](*words)
    except OSError as error: said = error.__class__.__name__ + " " + str(error)
    print(line.strip() + " -> " + said, flush=True)
"""

SERVE = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"served")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
"""

LIST = (
    f"api.example.test:{PORT}",
    f"*.wild.test:{PORT}",
    f"moving.test:{PORT}",
    f"{NAMES}:{OTHER_PORT}",
    f"192.0.2.0/24:{OTHER_PORT}",
)


@dataclass
class Probe:
    """A server that connects where it is told to, and what was told of that."""

    bench: Bench
    world: Outside
    running: Running
    heard: Heard
    told: list[tuple[WorkloadIdentity, Connection]] = field(
        default_factory=list[tuple[WorkloadIdentity, Connection]]
    )

    async def does(self, *words: object) -> str:
        """Have it do something, and give what came of it."""
        line = " ".join(map(str, words))
        before = self.heard.out.count(b"\n")
        self.running.stream.write(f"{line}\n".encode())
        await self.heard.until(lambda h: h.out.count(b"\n") > before, 20)
        return self.heard.out.decode().splitlines()[before].partition(" -> ")[2]

    async def was_told(self, allowed: bool, **what: object) -> Connection:
        """Give the connection that was told of."""

        def found() -> Connection | None:
            for _, seen in self.told:
                if seen.allowed is allowed and all(getattr(seen, key) == v for key, v in what.items()):
                    return seen
            return None

        async def there() -> bool:
            return found() is not None

        await eventually(there)
        return cast("Connection", found())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def probe(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Probe]:
    settings = SETTINGS.model_copy(update={"resolvers": (NAMES,)})
    state = tmp_path_factory.mktemp("state")
    async with outside.outside() as world, docker_bench(state, secrets.token_hex(8), settings) as bench:
        told: list[tuple[WorkloadIdentity, Connection]] = []
        assert isinstance(bench.runtime, TellsConnections)
        bench.runtime.tell_connections(lambda identity, seen: told.append((identity, seen)) is None)
        spec, heard = await allowed(PROBE, LIST), Heard()
        await bench.runtime.prepare(spec, nothing_said)
        running = await bench.runtime.start(spec, bench.identity(spec), heard)
        yield Probe(bench, world, running, heard, told)


async def allowed(program: str, egress: Sequence[str], name: str = "tested", **changes: object) -> ServerSpec:
    launch = Image(await python_base(), ("-u", "-c", program), ("python3",))
    spec = ServerSpec(name, launch, "docker", network=Network.ALLOWED, egress=tuple(egress))
    return replace(spec, **changes)  # pyright: ignore[reportArgumentType]


async def test_what_the_list_names_is_reached_and_told_of(probe: Probe) -> None:
    assert await probe.does("tcp", "api.example.test", PORT) == "got hello"
    seen = await probe.was_told(True, name="api.example.test")
    assert (seen.address, seen.port, seen.protocol) == (NAMES, PORT, "tcp")
    assert probe.told[0][0] == probe.running.identity
    assert await probe.does("tcp", NAMES, OTHER_PORT) == "got hello"
    assert (await probe.was_told(True, address=NAMES, port=OTHER_PORT)).name == ""
    assert await probe.does("tcp", "ONE.wild.test", PORT) == "got hello"
    assert (await probe.was_told(True, name="one.wild.test")).address == OTHER
    assert await probe.does("much", "api.example.test", PORT, 3_000_000) == "got 3000000"


async def test_nothing_else_is_reached_by_any_protocol(probe: Probe) -> None:
    bridge = "172.17.0.1"
    for words, told in (
        (("tcp", "other.test", PORT), {"name": "other.test", "protocol": "dns"}),
        (("tcp", "wild.test", PORT), {"name": "wild.test", "protocol": "dns"}),
        (("tcp", "api.example.test", OTHER_PORT), {"name": "api.example.test", "port": OTHER_PORT}),
        (("tcp", "api.example.test", 22), {"name": "api.example.test", "port": 22}),
        (("tcp", OTHER, PORT), {"address": OTHER, "port": PORT}),
        (("tcp", NAMES, PORT), {"address": NAMES, "port": PORT}),
        (("tcp", "169.254.169.254", 80), {"address": "169.254.169.254"}),
        (("tcp", bridge, 22), {"address": bridge}),
        (("udp", NAMES, 53), {"address": NAMES, "protocol": "udp"}),
        (("udp", OTHER, OTHER_PORT), {"address": OTHER, "protocol": "udp"}),
    ):
        seen = len(probe.world.seen)
        assert "got" not in await probe.does(*words), words
        assert (await probe.was_told(False, **told)).reason
        assert probe.world.seen[seen:] == [], words
    assert "OSError" in await probe.does("six", "2001:db8::1", PORT)
    assert await probe.does("links") == "lo,tide0"


async def test_this_machine_is_not_reached_at_any_of_its_addresses(probe: Probe) -> None:
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", PORT)
    async with listening:
        async with engine() as opened:
            seen = await opened.inspect(outlet_name(probe.running.identity.id))
        own = seen["NetworkSettings"]["Networks"].popitem()[1]
        for address in (own["Gateway"], own["IPAddress"], outside.HERE):
            assert "got" not in await probe.does("tcp", address, PORT)
            await probe.was_told(False, address=address, port=PORT)


async def test_names_that_carry_data_never_leave(probe: Probe) -> None:
    asked = len(probe.world.seen)
    long = ".".join(["abcdefghij" * 5] * 4)
    assert "gaierror" in await probe.does("ask", f"{long}.evil.test")
    assert "gaierror" in await probe.does("ask", f"{long}.wild.test")
    assert "is 100.126." in await probe.does("ask", "never-looked-up.wild.test")
    assert (await probe.was_told(False, protocol="dns", reason="the name is too long")).port == 53
    assert probe.world.seen[asked:] == []


async def test_a_name_that_moves_takes_its_connections_along_and_opens_nothing(probe: Probe) -> None:
    assert await probe.does("tcp", "moving.test", PORT) == "got hello"
    at_first = await probe.does("ask", "moving.test")
    await probe.world.move({"moving.test": OTHER})
    assert await probe.does("tcp", "moving.test", PORT) == "got hello"
    assert (await probe.was_told(True, name="moving.test", address=OTHER)).port == PORT
    assert await probe.does("ask", "moving.test") == at_first
    assert "got" not in await probe.does("tcp", OTHER, PORT)
    inside = (NEVER, "169.254.169.254", "127.0.0.1", "172.17.0.1", "100.127.255.2", "0.0.0.0")
    for address in (*inside, outside.HERE):
        await probe.world.move({"moving.test": address})
        assert "got" not in await probe.does("tcp", "moving.test", PORT)
        assert "leads to" in (await probe.was_told(False, name="moving.test", address=address)).reason


async def test_a_workload_whose_sidecar_is_gone_is_given_up_and_reaches_nothing(probe: Probe) -> None:
    bench, heard = probe.bench, Heard()
    spec = await allowed(PROBE, LIST, "lost")
    running = await bench.runtime.start(spec, bench.identity(spec), heard)
    other = Probe(bench, probe.world, running, heard)
    assert await other.does("tcp", "api.example.test", PORT) == "got hello"
    async with engine() as opened:
        await opened.remove(outlet_name(running.identity.id))
        await heard.until(lambda h: bool(h.reasons))
        assert "sidecar" in heard.reasons[0]
        for name in (cell_name(running.identity.id), running.identity.id):
            seen = await opened.inspect(name)
            assert seen["State"]["Running"] is (name == running.identity.id)
    [found] = [one for one in await bench.runtime.observe() if one.identity == running.identity]
    assert not found.running
    await bench.runtime.stop(running.identity, 0)
    assert await bench.found(running.identity) is None


async def test_a_gateway_that_comes_after_takes_it_up_with_what_was_not_recorded(
    probe: Probe, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"resolvers": (NAMES,)})
    around, spec = Surroundings(tmp_path, secrets.token_hex(8)), await allowed(PROBE, LIST, "again")
    async with DOCKER.open(settings, around) as before:
        heard, identity = Heard(), Bench(before, around.instance, lambda _: spec, True).identity(spec)
        probe.bench.started.append(identity)  # whatever becomes of this test
        running = await before.start(spec, identity, heard)
        first = Probe(probe.bench, probe.world, running, heard)
        assert await first.does("tcp", "api.example.test", PORT) == "got hello"  # and nobody recorded it
    async with DOCKER.open(settings, around) as after:
        told: list[tuple[WorkloadIdentity, Connection]] = []
        assert isinstance(after, TellsConnections)
        after.tell_connections(lambda identity, seen: told.append((identity, seen)) is None)
        [found] = await after.observe()
        assert found.running
        heard = Heard()
        again = Probe(probe.bench, probe.world, await after.attach(spec, found.identity, heard), heard, told)
        await again.was_told(True, name="api.example.test")
        assert await again.does("tcp", "one.wild.test", PORT) == "got hello"
        async with engine() as opened:  # as a gateway that ended in the midst of a start leaves it
            await opened.remove(found.identity.id)
        [left] = await after.observe()
        assert (left.identity, left.running) == (found.identity, False)
        async with engine() as opened:
            for name in (cell_name(left.identity.id), outlet_name(left.identity.id)):
                await opened.remove(name)
        assert await leftovers(around.instance) != []
        assert await after.observe() == []
        assert await leftovers(around.instance) == []


async def test_peers_reach_each_others_port_and_this_machine_reaches_both(probe: Probe) -> None:
    bench = probe.bench
    spec = await allowed(PROBE, (), "asks", peers=("serves:8000", "quiet"))
    listening = Image(await python_base(), ("-u", "-c", SERVE), ("python3",), transport=Transport.HTTP)
    other = ServerSpec("serves", listening, "docker", network=Network.ALLOWED, peers=("asks",))
    heard = Heard()
    served, started = await asyncio.gather(
        bench.runtime.start(other, bench.identity(other), Heard()),
        bench.runtime.start(spec, bench.identity(spec), heard),
    )
    asking = Probe(bench, probe.world, started, heard, probe.told)
    assert await got(served.address) == "served"
    assert "Error code: 400" in await asking.does("http", "serves", 8000)
    assert (await asking.was_told(True, name="serves")).port == 8000
    assert "got" not in await asking.does("tcp", "serves", 8001)
    assert "got" not in await asking.does("tcp", "quiet", 8000)
    assert "got" not in await asking.does("tcp", "api.example.test", PORT)
    await asyncio.gather(*(bench.runtime.stop(one.identity, 0) for one in (served, started)))


async def got(address: str | None) -> str:
    """Give what an HTTP server says, asking until it listens."""
    said: list[str] = []

    def ask() -> bool:
        try:
            with urlopen(f"{address}/", timeout=5) as answer:
                said.append(answer.read().decode())
        except OSError:
            return False
        return True

    async def asked() -> bool:
        return await asyncio.to_thread(ask)

    await eventually(asked)
    return said[-1]


async def leftovers(instance: str) -> list[str]:
    async with engine() as opened:
        label = f"dev.tidegate.instance={instance}"
        containers = [str(one["Names"]) for one in await opened.containers(label)]
        return [*containers, *(str(one["Name"]) for one in await opened.networks(label))]


async def test_a_gateway_records_what_its_servers_connect_to_and_in_which_call(
    probe: Probe, tmp_path: Path
) -> None:
    launch = {"image": await python_base(), "entrypoint": ["python3"], "sharing": "shared"}
    program = Path(connecting.__file__).read_text(encoding="utf-8")
    settings = {
        "runtimes": {"docker": {"bootstrap": True, "resolvers": [NAMES]}},
        "servers": {
            "pipes": {
                **launch,
                "args": ["-u", "-c", program],
                "network": {"egress": [f"api.example.test:{PORT}"]},
            },
            "web": {**launch, "args": ["-u", "-c", program, "http"], "transport": "http"},
        },
    }
    gateway = Gateway(tmp_path, settings)
    try:
        await asyncio.to_thread(gateway.start)
        await asyncio.to_thread(gateway.until_servers, pipes="ready", web="ready")
        client = await Wire(gateway.url()).open()
        target = {"host": "api.example.test", "port": PORT}
        assert await client.text("pipes__connect", target) == "got hello"
        assert await client.text("pipes__connect", {"host": OTHER, "port": PORT}) != "got hello"
        assert await client.text("web__connect", target) == "gaierror"
        told = await until(lambda: connections(gateway, 3), "the records of connections")
        calls = [one["call"] for one in gateway.records() if one["kind"] == "call.intent"]
        assert [(one["server"], one["event"], one.get("name")) for one in told] == [
            ("pipes", "allowed", "api.example.test"),
            ("pipes", "refused", None),
            ("web", "refused", "api.example.test"),
        ]
        assert all(call in one["calls"] for call, one in zip(calls, told, strict=True))
        assert (told[0]["address"], told[0]["port"], told[1]["address"]) == (NAMES, PORT, OTHER)
        with urlopen(f"{gateway.base}/metrics", timeout=5) as metrics:
            assert 'tidegate_egress_total{event="refused",server="web"} 1.0' in metrics.read().decode()
        lost = told[0]["workload"]
        async with engine() as opened:
            await opened.remove(outlet_name(lost))
        await until(lambda: gateway.server("pipes")["workloads"][0]["id"] != lost, "another workload")
        await asyncio.to_thread(gateway.until_servers, pipes="ready")
        again = await client.call("pipes__connect", target)
        assert "got hello" in str(again) or "got hello" in str(await client.call("pipes__connect", target))
        gateway.kill()
        cleaned = await asyncio.to_thread(gateway.command, "clean")
        assert (cleaned.returncode, cleaned.stdout) == (0, "removed 2 things\n"), cleaned.stderr
    finally:
        await asyncio.to_thread(gateway.stop)
    assert await leftovers((gateway.state / "instance").read_text().strip()) == []


def connections(gateway: Gateway, count: int) -> list[Json] | None:
    """Give what the journal says of connections, once that is so much."""
    told = [one["data"] for one in gateway.records() if one["kind"] == "network"]
    return told if len(told) >= count else None
