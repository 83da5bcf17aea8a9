"""What a crash left is found by its record, and only what is really ours is killed."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.integration.process.bench import INSTANCE, benched
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.process import records, tree
from tidegate.extensions.runtimes.process.records import Record

IDENTITY = WorkloadIdentity("tg-left-00000001", INSTANCE, WorkloadKey("left", "0" * 16, "shared"))
FACTS = {"sandbox": "landlock and seccomp", "limits": "none"}


async def sleeper() -> asyncio.subprocess.Process:
    """Start a process that stands for what outlived its gateway."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import time; time.sleep(600)", start_new_session=True
    )


def place_in(state: Path) -> Path:
    place = state / "runtime" / "process"
    place.mkdir(parents=True)
    return place


async def test_what_still_runs_is_observed_and_stopped(tmp_path: Path) -> None:
    child = await sleeper()
    seen = tree.look(child.pid)
    assert seen is not None
    records.write(place_in(tmp_path), Record(IDENTITY, child.pid, seen.started, records.boot(), FACTS))
    async with benched(tmp_path, "bubblewrap") as bench:
        [found] = await bench.runtime.observe()
        assert (found.identity, found.running, dict(found.facts)) == (IDENTITY, True, FACTS)
        await bench.runtime.stop(IDENTITY, 0)
        assert await child.wait() == -signal.SIGKILL
        assert await bench.runtime.observe() == []


@pytest.mark.parametrize("difference", ["started", "boot"])
async def test_a_stranger_who_got_the_process_id_is_left_alone(tmp_path: Path, difference: str) -> None:
    child = await sleeper()
    seen = tree.look(child.pid)
    assert seen is not None
    started = seen.started + (difference == "started")
    boot = records.boot() if difference == "started" else "another run of the machine"
    records.write(place_in(tmp_path), Record(IDENTITY, child.pid, started, boot, FACTS))
    try:
        async with benched(tmp_path, "bubblewrap") as bench:
            [found] = await bench.runtime.observe()
            assert not found.running
            await bench.runtime.stop(IDENTITY, 0)
            assert await bench.runtime.observe() == []
        assert tree.look(child.pid) is not None
    finally:
        child.kill()
        await child.wait()


async def test_a_workload_of_another_gateway_is_not_ours(tmp_path: Path) -> None:
    other = WorkloadIdentity("tg-other-00000001", "f" * 16, IDENTITY.key)
    records.write(place_in(tmp_path), Record(other, None, None, records.boot(), FACTS))
    async with benched(tmp_path, "bubblewrap") as bench:
        assert await bench.runtime.observe() == []
