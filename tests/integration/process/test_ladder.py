"""Which rung is taken where the better ones cannot be had."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.process.bench import INSTANCE
from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Command, Package, ServerSpec
from tidegate.extensions.runtimes.process import PROCESS, ProcessSettings
from tidegate.extensions.runtimes.process.launcher import kernel
from tidegate.ports.extension import Surroundings
from tidegate.testing.runtime_contract import nothing_said

RESTRICTED = """
import asyncio, json, platform, sys
from pathlib import Path
from tests.integration.process.bench import INSTANCE, Benched
from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.process import PROCESS, ProcessSettings, seccomp
from tidegate.extensions.runtimes.process.launcher import kernel
from tidegate.ports.extension import Surroundings
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.load_seccomp(seccomp.program(platform.machine(), seccomp.Sockets.NAMESPACED))
async def main():
    state = Path(sys.argv[1])
    async with PROCESS.open(ProcessSettings(), Surroundings(state, INSTANCE)) as runtime:
        bench = Benched(runtime, "landlock", "auto", state)
        try:
            running, heard = await bench.start(bench.spec("print('ran', flush=True)"))
        except RuntimeFailure as failure:
            print(json.dumps({"failure": str(failure)}))
            return
        await heard.until(lambda h: bool(h.reasons))
        print(json.dumps({"out": heard.out.decode(), **running.facts}))
asyncio.run(main())
"""


async def where_no_namespace_may_be_made(state: Path, root: Path) -> dict[str, Any]:
    """Start a server from a gateway that is itself forbidden what our filter forbids, as in a container."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RESTRICTED, str(state), cwd=root, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        told: dict[str, Any] = json.loads((await child.communicate())[0])
    return told


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="there is no filter for it")
async def test_where_no_namespace_may_be_made_landlock_is_taken_or_the_server_refused(
    tmp_path: Path, root: Path
) -> None:
    told = await where_no_namespace_may_be_made(tmp_path / "state", root)
    if os.geteuid() == 0:
        assert "no sandbox can be had" in told["failure"]
        assert "install the package bubblewrap" in told["failure"]
    elif kernel.landlock_abi() == 0:
        pytest.skip("the kernel has no Landlock")
    else:
        assert told["out"] == "ran\n"
        assert told["sandbox"].startswith("landlock")
        assert "namespaces: unshare: Operation not permitted" in told["passed_over"]


async def test_a_sandbox_that_is_asked_for_is_not_replaced_by_another(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("landlock can be had: only root's gateway refuses it")
    settings = ProcessSettings(sandbox="landlock")
    async with PROCESS.open(settings, Surroundings(tmp_path, INSTANCE)) as runtime:
        for launch, otherwise in (
            (Command(("/bin/sh",)), "declare `unsandboxed: true` for it"),
            (Package("pypi", "it", "1.0"), "run it in a container with `runtime: docker`"),
        ):
            with pytest.raises(RuntimeFailure, match=r"no sandbox can be had \(landlock: ") as caught:
                await runtime.prepare(ServerSpec("it", launch, "process"), nothing_said)
            assert str(caught.value).endswith(f": install the package bubblewrap, or {otherwise}")
