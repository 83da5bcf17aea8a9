"""A workload against section 5 of the CIS Docker Benchmark, and the table of it in the documentation."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

from tests.integration.docker.base import engine, python_base, python_spec
from tests.integration.docker.section5 import CHECKS, Seen, section5
from tidegate.domain.server import Mount
from tidegate.testing.runtime_contract import ECHO, Bench, Heard

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

HOSTS = {"5.1", "5.2"}
"""What only the engine's machine can have: AppArmor or SELinux."""
BY_CHOICE = {"5.14", "5.26"}
"""The gateway restarts and asks for health itself; the engine would do it unattached and unrecorded."""
ROW = re.compile(r"^\| (5\.\d+) \| ([^|]+) \| (\w+) \| ([^|]+) \|", re.MULTILINE)


async def seen(name: str) -> Seen:
    async with engine() as opened:
        top = await opened._docker._query_json(f"containers/{name}/top")
        processes = [" ".join(line) for line in top["Processes"]]
        return Seen(await opened.inspect(name), processes)


async def plain() -> dict[str, str]:
    """Give what section 5 says of what `docker run` makes with no options."""
    name = f"tidegate-plain-{secrets.token_hex(4)}"
    async with engine() as opened:
        try:
            await opened.create(name, {"Image": await python_base(), "Cmd": ["sleep", "60"]})
            await opened.start(name)
            return section5(await seen(name))
        finally:
            await opened.remove(name)


async def test_a_workload_warns_of_what_is_declared_and_of_nothing_else(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    mounts = (Mount(str(tmp_path / "data"), "/data"),)
    spec = python_spec(await python_base(), ECHO, mounts=mounts)
    running = await bench.runtime.start(spec, bench.identity(spec), Heard())
    warned = set(section5(await seen(running.identity.id)))
    assert warned - HOSTS == BY_CHOICE
    if "apparmor" in running.facts["sandbox"]:
        assert "5.1" not in warned


async def test_the_documented_table_is_what_was_found(bench: Bench, root: Path) -> None:
    rows = {row[0]: row for row in ROW.findall((root / "docs/containers.md").read_text(encoding="utf-8"))}
    assert list(rows) == list(CHECKS)
    running, _ = await bench.run(ECHO)
    ours, theirs = section5(await seen(running.identity.id)), await plain()
    for number, (title, _) in CHECKS.items():
        _, named, without, within = rows[number]
        assert named == title
        if number in HOSTS:
            assert within.startswith("as the engine")
            continue
        assert without == ("warn" if number in theirs else "pass"), f"{number} of a plain container"
        assert within.startswith("warn" if number in ours else "pass"), f"{number} of a workload"
