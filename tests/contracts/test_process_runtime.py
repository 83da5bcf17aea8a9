"""The process runtime keeps the contract of runtimes, on every rung that can be had here."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Command, ServerSpec
from tidegate.extensions.runtimes.process import PROCESS, ProcessSettings
from tidegate.ports.extension import Surroundings
from tidegate.testing.live_contract import LiveContract
from tidegate.testing.runtime_contract import ECHO, Bench, RuntimeContract, nothing_said

INSTANCE = secrets.token_hex(8)


class ProcessContract(RuntimeContract):
    """The contract on one rung."""

    sandbox: Literal["bubblewrap", "namespaces", "landlock"]
    unsandboxed = False

    def spec_of(self, program: str) -> ServerSpec:
        argv = (sys.executable, "-I", "-S", "-c", program)
        return ServerSpec("program", Command(argv, unsandboxed=self.unsandboxed), "process")

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        surroundings = Surroundings(tmp_path / "state", INSTANCE)
        async with PROCESS.open(ProcessSettings(sandbox=self.sandbox), surroundings) as runtime:
            try:
                await runtime.prepare(self.spec_of(ECHO), nothing_said)
            except RuntimeFailure as failure:
                pytest.skip(f"{self.sandbox} cannot be had here: {failure}")
            bench = Bench(runtime, INSTANCE, self.spec_of, reattaches=False)
            yield bench
            await bench.clean()


class TestBubblewrap(ProcessContract):
    sandbox = "bubblewrap"


class TestNamespaces(LiveContract, ProcessContract):
    sandbox = "namespaces"


@pytest.mark.skipif(os.geteuid() == 0, reason="root uses namespaces: landlock is for other users")
class TestLandlock(ProcessContract):
    sandbox = "landlock"


class TestUnsandboxed(LiveContract, ProcessContract):
    sandbox = "landlock"
    unsandboxed = True
