"""Limits hold: by cgroup where one can be made, else by rlimit, and the facts say which."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.integration.process.bench import Benched, Limit, Sandbox, benched
from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Limits, Remote, ServerSpec
from tidegate.extensions.runtimes.process.cgroups import Cgroups
from tidegate.testing.runtime_contract import nothing_said

MIB = 1024 * 1024
NOBODY = 65532
"""Whom servers of a gateway that is root run as."""
EATS = """
import json, sys
try:
    kept = bytearray(int(sys.argv[1]))
    for place in range(0, len(kept), 4096):
        kept[place] = 1
    print(json.dumps({"ate": len(kept)}))
except MemoryError:
    print(json.dumps({"ate": 0}))
"""
BOMB = """# kept apart: fork bomb
import json, os, signal, sys, time
count, error = 0, 0
while count < 2000:
    try:
        pid = os.fork()
    except OSError as failure:
        error = failure.errno
        break
    if pid == 0:
        time.sleep(600)
        os._exit(0)
    count += 1
print(json.dumps({"count": count, "error": error}), flush=True)
sys.stdin.read()
time.sleep(600)
"""

WAYS: list[tuple[Sandbox, Limit]] = [
    ("bubblewrap", "cgroup"),
    ("bubblewrap", "rlimits"),
    ("namespaces", "cgroup"),
    ("namespaces", "rlimits"),
    ("landlock", "rlimits"),
]


@pytest.fixture(params=WAYS, ids=["-".join(way) for way in WAYS])
async def limited(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Benched]:
    sandbox, limits = request.param
    try:
        async with benched(tmp_path / "state", sandbox, limits) as bench:
            yield bench
    except RuntimeFailure as failure:
        if "limits by cgroup cannot be had" not in str(failure):
            raise
        pytest.skip(str(failure))


async def test_a_server_that_eats_more_memory_than_it_may_does_not_get_it(limited: Benched) -> None:
    limits = Limits(memory=96 * MIB)
    running, heard = await limited.start(limited.spec(EATS, str(400 * MIB), limits=limits))
    await heard.until(lambda h: bool(h.reasons))
    await limited.runtime.stop(running.identity, 1)
    if limited.limits == "cgroup":
        assert heard.reasons == ["killed: out of memory"]
        assert "memory 96 MiB" in running.facts["limits"]
        assert "by cgroup v" in running.facts["limits"]
    else:
        assert heard.out.strip() == b'{"ate": 0}'
        assert "memory 96 MiB of data for each process by rlimit" in running.facts["limits"]


async def test_a_server_within_its_memory_is_left_alone(limited: Benched) -> None:
    told = await limited.tell(EATS, str(40 * MIB), limits=Limits(memory=96 * MIB))
    assert told == {"ate": 40 * MIB}


async def test_a_fork_bomb_is_contained_and_nothing_of_it_outlives_a_stop(limited: Benched) -> None:
    await _until(lambda: _others_of(NOBODY if os.getuid() == 0 else os.getuid()) == [])
    running, heard = await limited.start(limited.spec(BOMB, limits=Limits(pids=24)))
    await heard.until(lambda h: b"\n" in h.out)
    told = json.loads(heard.out)
    assert told["error"] == 11  # EAGAIN
    assert 10 <= told["count"] <= 26
    await limited.runtime.stop(running.identity, 0.2)
    await _until(
        lambda: _running_with(b"kept apart: fork bomb") == []
    )  # what was killed takes a moment to go
    assert await limited.runtime.observe() == []
    assert "24 processes" in running.facts["limits"]


async def test_one_servers_processes_do_not_count_for_another(limited: Benched) -> None:
    first, heard = await limited.start(limited.spec(BOMB, limits=Limits(pids=24)))
    await heard.until(lambda h: b"\n" in h.out)
    program = "import json, os; pid = os.fork(); pid or os._exit(0); print(json.dumps({'forked': pid > 0}))"
    assert await limited.tell(program, limits=Limits(pids=24)) == {"forked": True}
    await limited.runtime.stop(first.identity, 0.2)


async def test_a_servers_crash_leaves_no_core(limited: Benched) -> None:
    program = "import json, resource; print(json.dumps({'core': resource.getrlimit(resource.RLIMIT_CORE)}))"
    assert await limited.tell(program) == {"core": [0, 0]}


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for what is to come true within seconds, however busy the machine is."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def _others_of(uid: int) -> list[int]:
    """Give the processes of a user but this one: rlimits count by user, whoever's they are."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == uid and int(path.name) != os.getpid():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def _running_with(mark: bytes) -> list[int]:
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.root
async def test_a_real_group_of_version_2_is_killed_whole_and_removed() -> None:
    tops = [
        path
        for path in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
        if (path / "cgroup.procs").exists()
    ]
    if not tops or not os.access(tops[-1], os.W_OK):
        pytest.skip("no writable cgroup of version 2 is mounted")
    base = tops[-1] / f"tidegate-test-{os.getpid()}"
    base.mkdir()
    groups = Cgroups(2, (("", base),))
    try:
        [file] = groups.make("w", Limits())
        child = await asyncio.create_subprocess_exec("/bin/sh", "-c", "sleep 600 & setsid sleep 600")
        Path(file).write_text(str(child.pid))
        assert child.pid in groups.processes("w")
        assert not groups.remove("w")
        groups.kill("w")
        await child.wait()
        async with asyncio.timeout(5):
            while not groups.remove("w"):
                groups.kill("w")
                await asyncio.sleep(0.01)
        assert groups.names() == set()
    finally:
        groups.close()
    assert not base.exists()


async def test_a_server_that_is_no_process_is_refused(tmp_path: Path) -> None:
    async with benched(tmp_path, "bubblewrap") as bench:
        spec = ServerSpec("far", Remote("https://example.com/mcp"), "process")
        with pytest.raises(RuntimeFailure, match="neither a command nor a package"):
            await bench.runtime.prepare(spec, nothing_said)
