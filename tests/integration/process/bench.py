"""What the tests of the process runtime stand on: a runtime on a chosen rung, and programs run in it."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Command, ServerSpec
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.process import PROCESS, ProcessSettings
from tidegate.ports.extension import Surroundings
from tidegate.ports.runtime import Running, Runtime
from tidegate.testing.runtime_contract import Heard, nothing_said

INSTANCE = os.environ.setdefault("TIDEGATE_TEST_INSTANCE", secrets.token_hex(8))
"""Of this run and the gateways that it starts: several runs on one machine must not meet in a cgroup."""
Sandbox = Literal["bubblewrap", "namespaces", "landlock"]
Limit = Literal["auto", "cgroup", "rlimits"]


class Benched:
    """A runtime on one rung."""

    def __init__(self, runtime: Runtime, sandbox: Sandbox, limits: Limit, state: Path) -> None:
        self.runtime = runtime
        self.sandbox = sandbox
        self.limits = limits
        self.state = state

    def spec(self, program: str, *arguments: str, **changes: Any) -> ServerSpec:
        """Declare a server that runs a Python program."""
        argv = (sys.executable, "-I", "-S", "-c", program, *arguments)
        return replace(ServerSpec("probe", Command(argv), "process"), **changes)

    async def start(self, spec: ServerSpec) -> tuple[Running, Heard]:
        """Start it."""
        key = WorkloadKey(spec.name, spec.digest(), "shared")
        identity = WorkloadIdentity(f"tg-{spec.name}-{secrets.token_hex(4)}", INSTANCE, key)
        heard = Heard()
        return await self.runtime.start(spec, identity, heard), heard

    async def tell(self, program: str, *arguments: str, **changes: Any) -> dict[str, Any]:
        """Run a program that prints one JSON object and ends; give the object."""
        running, heard = await self.start(self.spec(program, *arguments, **changes))
        await heard.until(lambda h: bool(h.reasons))
        assert heard.reasons == ["exited with status 0"], (heard.reasons, heard.err[-2000:])
        await self.runtime.stop(running.identity, 1)
        told: dict[str, Any] = json.loads(heard.out)
        return told

    def writable(self, place: Path) -> Path:
        """Make a directory that servers may write to."""
        place.mkdir()
        place.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(place, 65532, 65532)
        return place


@asynccontextmanager
async def benched(state: Path, sandbox: Sandbox, limits: Limit = "auto") -> AsyncGenerator[Benched, None]:
    """Open the runtime on a rung, or skip the test with the reason why it cannot be had here."""
    if sandbox == "landlock" and os.geteuid() == 0:
        pytest.skip("landlock is for gateways that are not root; see test_unprivileged")
    async with PROCESS.open(
        ProcessSettings(sandbox=sandbox, limits=limits), Surroundings(state, INSTANCE)
    ) as runtime:
        bench = Benched(runtime, sandbox, limits, state)
        try:
            await runtime.prepare(bench.spec("pass"), nothing_said)
        except RuntimeFailure as failure:
            pytest.skip(f"{sandbox} cannot be had here: {failure}")
        yield bench
