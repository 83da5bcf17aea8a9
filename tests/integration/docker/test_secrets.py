"""Secret files in real containers: there for the server, and nowhere else."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.docker.base import engine
from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Secret, ServerSpec
from tidegate.extensions.runtimes.docker.engine import EngineRefused
from tidegate.extensions.runtimes.docker.handover import LABEL, box_name, volume_name
from tidegate.testing.runtime_contract import Bench, Heard, nothing_said

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

CANARY = "hunter2-canary-of-the-secret-files"
LOOK = """
import json, os, sys
found = {}
for name in sorted(os.listdir("/run/secrets")):
    path = "/run/secrets/" + name
    about = os.stat(path)
    found[name] = [open(path).read(), oct(about.st_mode & 0o7777), about.st_uid == os.getuid()]
try:
    open("/run/secrets/more", "w")
    found["written"] = True
except OSError:
    pass
kind = [line.split()[2] for line in open("/proc/mounts") if line.split()[1] == "/run/secrets"]
print(json.dumps([found, kind]), flush=True)
sys.stdin.read()
"""


def with_secrets(bench: Bench, program: str = LOOK) -> ServerSpec:
    return replace(
        bench.spec_of(program),
        secrets={"api-key": Secret(CANARY, ("env:A",)), "cert.pem": Secret("line\n" * 5000)},
    )


def kept_on_disk(place: Path) -> bool:
    return any(CANARY.encode() in path.read_bytes() for path in place.rglob("*") if path.is_file())


async def test_a_server_reads_its_secrets_from_memory_as_its_own_files_and_nobody_else_sees_them(
    bench: Bench, tmp_path: Path
) -> None:
    spec, heard = with_secrets(bench), Heard()
    await bench.runtime.prepare(spec, nothing_said)
    identity = bench.identity(spec)
    running = await bench.runtime.start(spec, identity, heard)
    await heard.until(lambda h: h.out.endswith(b"\n"))

    found, kind = json.loads(heard.out)
    assert found == {"api-key": [CANARY, "0o400", True], "cert.pem": ["line\n" * 5000, "0o400", True]}
    assert kind == ["tmpfs"]

    async with engine() as opened:
        seen = await opened.inspect(identity.id)
        root = Path((await opened.info())["DockerRootDir"])
        volumes = await opened.ask("inspecting", f"volumes/{volume_name(identity)}")
        with pytest.raises(EngineRefused, match="No such container"):
            await opened.inspect(box_name(identity))
    assert seen["Config"]["Cmd"]
    assert CANARY not in json.dumps([seen, volumes, dict(running.facts)])
    assert not any(CANARY in cmdline(pid) for pid in pids())
    assert not kept_on_disk(tmp_path)
    assert not kept_on_disk(root / "containers" / str(seen["Id"]))

    await bench.runtime.stop(identity, 0)
    assert await left_of(identity.id) == []


def pids() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def cmdline(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


async def left_of(workload: str) -> list[str]:
    """Give the containers and volumes that belong to a workload's secrets."""
    async with engine() as opened:
        boxes = await opened.containers(f"{LABEL}={workload}")
        filters = json.dumps({"label": [f"{LABEL}={workload}"]})
        volumes = await opened.ask("listing", "volumes", params={"filters": filters})
    return [str(each) for each in [*boxes, *(volumes.get("Volumes") or [])]]


async def test_a_start_that_is_refused_leaves_no_secret_behind(bench: Bench) -> None:
    spec = with_secrets(bench)
    await bench.runtime.prepare(spec, nothing_said)
    too_small = replace(spec, limits=replace(spec.limits, memory=1024))
    identity = bench.identity(too_small)
    with pytest.raises(RuntimeFailure, match="emory"):
        await bench.runtime.start(too_small, identity, Heard())
    assert await left_of(identity.id) == []


async def test_a_start_that_is_broken_off_leaves_no_secret_behind(bench: Bench) -> None:
    spec = with_secrets(bench)
    await bench.runtime.prepare(spec, nothing_said)
    identity = bench.identity(spec)
    starting = asyncio.create_task(bench.runtime.start(spec, identity, Heard()))
    async with engine() as opened:
        async with asyncio.timeout(20):
            while not await opened.containers(f"{LABEL}={identity.id}"):
                await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await left_of(identity.id) == []


async def test_a_server_keeps_its_secrets_when_its_gateway_comes_back(bench: Bench) -> None:
    program = (
        "import sys\nfor line in sys.stdin:\n    print(open('/run/secrets/api-key').read(), flush=True)\n"
    )
    spec, heard, again = with_secrets(bench, program), Heard(), Heard()
    await bench.runtime.prepare(spec, nothing_said)
    identity = bench.identity(spec)
    running = await bench.runtime.start(spec, identity, heard)
    await running.stream.close()
    taken = await bench.runtime.attach(spec, identity, again)
    taken.stream.write(b"read\n")
    await again.until(lambda h: h.out == CANARY.encode() + b"\n")
