"""What the runtime does when the engine, an image or a start fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.docker.base import docker_bench, engine, eventually, python_base, python_spec
from tidegate.domain.errors import EngineUnavailable, RuntimeFailure
from tidegate.domain.server import Image, Mount, ServerSpec
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.docker import DOCKER, DockerSettings, check
from tidegate.extensions.runtimes.docker.settings import Deadlines, locate_engine
from tidegate.ports.extension import Surroundings
from tidegate.testing.runtime_contract import ECHO, Bench, Heard, nothing_said

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

SPEC = ServerSpec("tested", Image("nowhere.invalid/nothing:1"), "docker")
IDENTITY = WorkloadIdentity("tg-tested-00000000", "f" * 16, WorkloadKey("tested", SPEC.digest(), "shared"))


@asynccontextmanager
async def hanging_engine(place: Path) -> AsyncIterator[DockerSettings]:
    """Listen where an engine would, and never answer."""

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_unix_server(never, place / "engine.sock")
    try:
        deadlines = Deadlines(call=0.2, start=0.2, silence=0.2, prepare=0.5)
        yield DockerSettings(socket=f"unix://{place}/engine.sock", deadlines=deadlines)
    finally:
        server.close()


@asynccontextmanager
async def slow_engine(place: Path, delay: float) -> AsyncIterator[DockerSettings]:
    """Stand in front of the real engine and hand on every piece late."""
    real = locate_engine(DockerSettings()).removeprefix("unix://")

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            await asyncio.sleep(delay)  # this is what is tested, not a wait for something
            writer.write(piece)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(real)
        ways = (hand_on(reader, inner_writer), hand_on(inner_reader, writer))
        await asyncio.gather(*ways, return_exceptions=True)

    server = await asyncio.start_unix_server(relay, place / "slow.sock")
    try:
        yield DockerSettings(socket=f"unix://{place}/slow.sock", bootstrap=True)
    finally:
        server.close()


async def test_a_slow_engine_is_waited_for(tmp_path: Path) -> None:
    async with slow_engine(tmp_path, 0.2) as settings, docker_bench(tmp_path, "d" * 16, settings) as bench:
        running, heard = await bench.run(ECHO)
        running.stream.write(b"late\n")
        await heard.until(lambda h: h.out == b"heard late\n")
        await asyncio.gather(*(bench.runtime.stop(running.identity, 1) for _ in range(3)))
        assert await bench.runtime.observe() == []


@pytest.mark.parametrize("call", ["prepare", "start", "attach", "stop", "observe"])
async def test_an_engine_that_never_answers_is_unavailable_within_the_deadline(
    tmp_path: Path, call: str
) -> None:
    async with (
        hanging_engine(tmp_path) as settings,
        DOCKER.open(settings, Surroundings(tmp_path, "f" * 16)) as runtime,
    ):
        calls = {
            "prepare": lambda: runtime.prepare(SPEC, nothing_said),
            "start": lambda: runtime.start(SPEC, IDENTITY, Heard()),
            "attach": lambda: runtime.attach(SPEC, IDENTITY, Heard()),
            "stop": lambda: runtime.stop(IDENTITY, 0),
            "observe": runtime.observe,
        }
        async with asyncio.timeout(15):
            with pytest.raises(EngineUnavailable, match="did not answer within"):
                await calls[call]()


async def test_an_engine_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await check(DockerSettings(socket=f"unix://{tmp_path}/none.sock"))


async def test_a_check_tells_what_the_engine_enforces() -> None:
    said = await check(DockerSettings())
    assert said[0].startswith("engine ")
    assert "seccomp" in said[1]


@pytest.mark.parametrize("name", ["", "../containers/json", "a?b=c", "a b", "a/../../b", "-a"])
async def test_what_is_no_images_name_is_asked_of_no_engine(bench: Bench, name: str) -> None:
    spec = ServerSpec("tested", Image(name), "docker")
    with pytest.raises(RuntimeFailure, match="is no image's name"):
        await bench.runtime.prepare(spec, nothing_said)


async def test_an_image_that_cannot_be_had_fails_to_prepare_and_names_it(bench: Bench) -> None:
    with pytest.raises(RuntimeFailure, match=r"nowhere\.invalid/nothing:1"):
        await bench.runtime.prepare(SPEC, nothing_said)
    with pytest.raises(RuntimeFailure, match="is not on the engine"):
        await bench.runtime.start(SPEC, bench.identity(SPEC), Heard())


async def test_nothing_is_pulled_where_the_settings_say_never(tmp_path: Path) -> None:
    async with docker_bench(tmp_path, "e" * 16, DockerSettings(pull="never")) as bench:
        with pytest.raises(RuntimeFailure, match="`never`"):
            await bench.runtime.prepare(SPEC, nothing_said)


async def test_a_program_that_is_not_in_the_image_ends_and_is_named(bench: Bench) -> None:
    spec = ServerSpec("tested", Image(await python_base(), (), ("/no/such/program",)), "docker")
    heard = Heard()
    await bench.runtime.start(spec, bench.identity(spec), heard)
    await heard.until(lambda h: bool(h.reasons))
    assert heard.reasons == ["exited with status 127"]
    assert b"/no/such/program" in heard.err


async def test_a_start_that_the_engine_refuses_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    onto_a_file = (Mount(str(tmp_path / "data"), "/usr/bin/env"),)
    spec = python_spec(await python_base(), ECHO, mounts=onto_a_file)
    heard = Heard()
    with pytest.raises(RuntimeFailure, match="directory"):
        await bench.runtime.start(spec, bench.identity(spec), heard)
    assert await bench.runtime.observe() == []
    assert heard.reasons == []


async def test_a_start_that_is_cancelled_leaves_nothing(bench: Bench) -> None:
    spec = python_spec(await python_base(), ECHO)
    for wait in (0.0, 0.004, 0.008, 0.012, 0.016, 0.02, 0.03, 0.05, 0.1, 0.2):
        start = asyncio.create_task(bench.runtime.start(spec, bench.identity(spec), Heard()))
        await asyncio.wait([start], timeout=wait)
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        if not start.cancelled():
            await bench.clean()
        assert await bench.runtime.observe() == []


async def test_a_container_that_was_only_created_is_observed_and_can_be_stopped(bench: Bench) -> None:
    spec = bench.spec_of(ECHO)
    identity = bench.identity(spec)
    async with engine() as opened:
        await opened.create(identity.id, {"Image": await python_base(), "Labels": identity.labels()})
    seen = await bench.found(identity)
    assert seen is not None
    assert not seen.running
    await bench.runtime.stop(identity, 5)
    assert await bench.found(identity) is None


async def test_a_workload_that_somebody_else_removes_ends_its_stream(bench: Bench) -> None:
    running, heard = await bench.run(ECHO)
    async with engine() as opened:
        await opened.remove(running.identity.id)
    await heard.until(lambda h: bool(h.reasons))
    assert len(heard.reasons) == 1


async def test_a_second_gateway_adopts_what_the_first_left_and_is_heard(tmp_path: Path) -> None:
    async with docker_bench(tmp_path, "a" * 16) as first:
        running, _ = await first.run(ECHO)
        async with docker_bench(tmp_path, "a" * 16) as second:
            [seen] = await second.runtime.observe()
            assert seen.running
            again = Heard()
            await running.stream.close()
            taken = await second.runtime.attach(first.spec_of(ECHO), seen.identity, again)
            # A half line that the first gateway may have left is ended by a bare newline.
            taken.stream.write(b"\n")
            taken.stream.write(b"hello\n")
            await again.until(lambda h: h.out.endswith(b"heard hello\n"))
            await second.runtime.stop(seen.identity, 1)
            await eventually(lambda: nothing_of(second))


async def nothing_of(bench: Bench) -> bool:
    return await bench.runtime.observe() == []
