"""Secret files in sandboxes: there for the server, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.process.bench import Benched
from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Command, Secret

pytestmark = pytest.mark.sandbox

CANARY = "hunter2-canary-of-the-secret-files"
LOOK = """
import json, os
found = {}
for name in sorted(os.listdir("/run/secrets")):
    about = os.stat("/run/secrets/" + name)
    found[name] = [open("/run/secrets/" + name).read(), oct(about.st_mode & 0o7777), about.st_uid == os.getuid()]
failed = []
for attempt in (lambda: open("/run/secrets/more", "w"), lambda: os.chmod("/run/secrets/api-key", 0o644)):
    try:
        attempt()
    except OSError:
        failed.append(True)
kind = [line.split()[2] for line in open("/proc/mounts") if line.split()[1] == "/run/secrets"]
print(json.dumps({"found": found, "failed": failed, "kind": kind, "fds": sorted(os.listdir("/proc/self/fd"))}))
"""
WAIT = "import sys; print('up', flush=True); sys.stdin.read()"


def secret_files(**more: str) -> dict[str, Any]:
    return {"secrets": {"api-key": Secret(CANARY), **{name: Secret(text) for name, text in more.items()}}}


def command_lines() -> str:
    """Give the arguments and variables of every process that can be looked at."""
    told: list[str] = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            for name in ("cmdline", "environ"):
                try:
                    told.append((place / name).read_text(errors="replace"))
                except OSError:
                    continue
    return "\n".join(told)


async def test_a_server_reads_its_secrets_from_memory_as_its_own_files(bench: Benched) -> None:
    if bench.sandbox == "landlock":
        pytest.skip("this sandbox has no /run/secrets of its own: the next test sees that it says so")
    large = {f"number-{number}": str(number) * 3000 for number in range(20)}
    told = await bench.tell(LOOK, **secret_files(**large))
    assert told["found"] == {
        "api-key": [CANARY, "0o400", True],
        **{name: [text, "0o400", True] for name, text in sorted(large.items())},
    }
    assert told["failed"] == [True, True]
    assert told["kind"] == ["tmpfs"]
    assert [number for number in told["fds"] if int(number) > 3] == []


async def test_the_secrets_of_a_running_server_are_in_no_argument_record_or_file_of_the_gateway(
    bench: Benched,
) -> None:
    if bench.sandbox == "landlock":
        pytest.skip("this sandbox has no /run/secrets of its own")
    running, heard = await bench.start(bench.spec(WAIT, **secret_files()))
    await heard.until(lambda h: h.out == b"up\n")
    assert CANARY not in command_lines()
    assert CANARY not in json.dumps(dict(running.facts))
    kept = [
        path for path in bench.state.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()
    ]
    assert kept == []
    await bench.runtime.stop(running.identity, 0)


async def test_a_server_without_a_place_of_its_own_for_them_is_refused(bench: Benched) -> None:
    spec = bench.spec(WAIT, **secret_files())
    assert isinstance(spec.launch, Command)
    if bench.sandbox != "landlock":
        spec = bench.spec(WAIT, launch=Command(spec.launch.argv, unsandboxed=True), **secret_files())
    with pytest.raises(RuntimeFailure, match="has no /run/secrets of its own here"):
        await bench.start(spec)
