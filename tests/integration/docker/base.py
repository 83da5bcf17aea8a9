"""What the tests of real containers share: settings, an image with Python, specs of small programs."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tidegate.domain.server import Image, ServerSpec
from tidegate.extensions.runtimes.docker import DOCKER, DockerSettings
from tidegate.extensions.runtimes.docker.bases import Bases
from tidegate.extensions.runtimes.docker.engine import Engine, open_engine
from tidegate.extensions.runtimes.docker.images import Pulls
from tidegate.ports.extension import Surroundings
from tidegate.testing.runtime_contract import Bench, nothing_said

SETTINGS = DockerSettings(bootstrap=True)
_found: list[str] = []


async def python_base() -> str:
    """Give the name of an image with Python: the public one, or one bootstrapped here. Made once."""
    if not _found:
        with tempfile.TemporaryDirectory() as place:
            surroundings = Surroundings(Path(place), "0" * 16)
            async with open_engine(SETTINGS) as engine:
                bases = Bases(engine, Pulls(engine, SETTINGS), SETTINGS, surroundings)
                _found.append((await bases.bring("pypi", "tests", nothing_said)).name)
    return _found[0]


def python_spec(image: str, program: str, **changes: object) -> ServerSpec:
    """Give the spec of a server that runs a Python program in a container."""
    spec = ServerSpec("tested", Image(image, ("-u", "-c", program), ("python3",)), "docker")
    return replace(spec, **changes)  # pyright: ignore[reportArgumentType]


@asynccontextmanager
async def docker_bench(
    state: Path, instance: str, settings: DockerSettings = SETTINGS
) -> AsyncIterator[Bench]:
    """Open the Docker runtime for a test, and leave nothing behind."""
    image = await python_base()
    async with DOCKER.open(settings, Surroundings(state, instance)) as runtime:
        bench = Bench(runtime, instance, lambda program: python_spec(image, program), reattaches=True)
        try:
            yield bench
        finally:
            await bench.clean()


@asynccontextmanager
async def engine() -> AsyncIterator[Engine]:
    """Open the engine itself, to look at what the runtime made."""
    async with open_engine(SETTINGS) as opened:
        yield opened


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 15.0) -> None:
    """Wait until an async condition holds, asking again and again; fail when it does not come."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)
