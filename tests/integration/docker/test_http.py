"""HTTP servers in containers: reached on this machine's loopback, and without a network they reach nobody."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.integration.docker.base import SETTINGS, docker_bench, engine, eventually, python_base
from tidegate.domain.server import Image, Network, ServerSpec, Transport
from tidegate.extensions.runtimes.docker.egress.parts import outlet_name
from tidegate.testing.runtime_contract import Bench, Heard, nothing_said

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

SERVE = """
import http.server, socket
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            socket.create_connection((self.path[1:], 8000), 2); body = b"reached"
        except OSError as error:
            body = error.__class__.__name__.encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
"""


async def http_spec(network: Network) -> ServerSpec:
    launch = Image(
        await python_base(), ("-u", "-c", SERVE), ("python3",), transport=Transport.HTTP, port=8000
    )
    return ServerSpec("web", launch, "docker", network=network)


async def get(address: str | None, path: str) -> str | None:
    def ask() -> str | None:
        try:
            with urlopen(f"{address}/{path}", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None

    return await asyncio.to_thread(ask)


async def answer(address: str | None, path: str) -> str:
    """Ask until the server listens."""
    said: list[str | None] = []

    async def asked() -> bool:
        said.append(await get(address, path))
        return said[-1] is not None

    await eventually(asked)
    return str(said[-1])


async def networks(instance: str) -> list[str]:
    async with engine() as opened:
        return [str(one["Name"]) for one in await opened.networks(f"dev.tidegate.instance={instance}")]


async def test_a_server_without_a_network_is_reached_and_reaches_nobody(bench: Bench) -> None:
    spec = await http_spec(Network.NONE)
    await bench.runtime.prepare(spec, nothing_said)
    one, two = await asyncio.gather(
        *(bench.runtime.start(spec, bench.identity(spec), Heard()) for _ in range(2))
    )
    assert one.address != two.address
    assert str(one.address).startswith("http://127.0.0.1:")
    assert await answer(two.address, "127.0.0.1") == "reached"
    async with engine() as opened:
        seen = await opened.inspect(outlet_name(two.identity.id))
    joined = seen["NetworkSettings"]["Networks"].popitem()[1]
    elsewhere = (joined["IPAddress"], joined["Gateway"], "192.0.2.1")
    assert all(elsewhere)  # no name at all would be the server itself
    for nobody in elsewhere:
        assert (nobody, await answer(one.address, nobody)) == (nobody, "OSError")
    [seen] = [found for found in await bench.runtime.observe() if found.identity == one.identity]
    assert seen.address == one.address
    await bench.runtime.stop(one.identity, 0)
    assert len(await networks(bench.instance)) == 1
    await bench.runtime.stop(two.identity, 0)
    assert await networks(bench.instance) == []


async def test_a_server_with_an_open_network_is_published_on_loopback_only(bench: Bench) -> None:
    spec = await http_spec(Network.OPEN)
    running = await bench.runtime.start(spec, bench.identity(spec), Heard())
    assert str(running.address).startswith("http://127.0.0.1:")
    assert await answer(running.address, "127.0.0.1") == "reached"
    [seen] = await bench.runtime.observe()
    assert seen.address == running.address
    await bench.runtime.stop(running.identity, 0)
    assert await networks(bench.instance) == []


async def test_a_server_can_be_reached_over_a_bridge_where_that_is_set(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"private_http": "bridge"})
    spec = await http_spec(Network.NONE)
    async with docker_bench(tmp_path, secrets.token_hex(8), settings) as bench:
        running = await bench.runtime.start(spec, bench.identity(spec), Heard())
        assert ":8000" in str(running.address)
        assert await answer(running.address, "127.0.0.1") == "reached"
        assert await answer(running.address, "192.0.2.1") in ("TimeoutError", "OSError")
        assert not [name for name in await networks(bench.instance) if "outlets" in name]
