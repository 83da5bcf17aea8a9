"""The same holds for a gateway that is not root: the other tests here, run again as `nobody`.

As root they cover the rungs that root has; this one covers user namespaces and Landlock.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOBODY = 65534
HERE = "tests/integration/process"
RUN = (f"{HERE}/test_confinement.py", f"{HERE}/test_limits.py", f"{HERE}/test_endings.py",
       f"{HERE}/test_ladder.py", f"{HERE}/test_secrets.py",
       "tests/contracts/test_process_runtime.py::TestLandlock")  # fmt: skip


def python_for_nobody(root: Path, packages: str) -> list[str]:
    """Give the argv of a Python that `nobody` can run this project with; skip where there is none."""
    asked = "import sys, pytest, uvloop, tidegate; print(sys.version_info[:2])"
    path = os.pathsep.join((str(root / "src"), packages))
    argv = [
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--",
        "env", "-i", "PATH=/usr/bin:/bin", f"PYTHONPATH={path}", "PYTHONDONTWRITEBYTECODE=1", "LANG=C.UTF-8",
    ]  # fmt: skip
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    tried: list[str] = []
    for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
        done = subprocess.run(
            [*argv, python, "-c", asked], cwd="/", capture_output=True, text=True, timeout=30, check=False
        )
        if done.returncode == 0:
            return [*argv, python]
        tried.append(f"{python}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    pytest.skip(f"no Python that nobody can run this project with: {'; '.join(tried)}")


@pytest.mark.root
@pytest.mark.timeout(300)
async def test_all_of_it_holds_for_a_gateway_that_is_not_root(root: Path) -> None:
    packages = str(Path(pytest.__file__).parent.parent)
    python = python_for_nobody(root, packages)
    base = Path("/tmp") / f"tidegate-nobody-{os.getpid()}"
    base.mkdir(mode=0o700)
    os.chown(base, NOBODY, NOBODY)
    try:
        command = [
            *python,
            "-m",
            "pytest",
            "-q",
            "-rs",
            "-p",
            "no:cacheprovider",
            f"--basetemp={base / 't'}",
            *RUN,
        ]
        child = await asyncio.create_subprocess_exec(
            *command, cwd=root, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(280):
            said = (await child.communicate())[0].decode()
    finally:
        shutil.rmtree(base, ignore_errors=True)
    assert child.returncode == 0, said[-6000:]
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None, said[-2000:]
    assert int(passed[1]) >= 30, said[-3000:]
    print(said)
