"""How much memory processes hold, what they share counted once; and what people have without a gateway."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.integration.faults.contained import containers
from tests.integration.gateway.gateway import Gateway
from tests.integration.real.images import docker

ASK = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"x","version":"1"}}}\n'
)


def resident(pid: int) -> float:
    """Give the megabytes that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024


def proportional(pids: Sequence[int]) -> float:
    """Give the megabytes that processes hold, what they share counted once (PSS)."""
    kilobytes = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            found = re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)
            kilobytes += int(found[1]) if found else 0
    return kilobytes / 1024


def inside(gateway: Gateway) -> list[int]:
    """Give the processes in the gateway's containers."""
    found: list[int] = []
    for name in containers(gateway):
        with contextlib.suppress(RuntimeError):
            said = docker("top", name, "-eo", "pid").splitlines()[1:]
            found += [int(each) for each in said]
    return found


def each_its_own(place: Path, package: str, program: Sequence[str], count: int) -> float:
    """Run so many processes of a server at once, as clients do, and give what one of them holds."""
    venv = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
    pip = [str(venv / "bin" / "pip"), "install", "--quiet", package]
    subprocess.run(pip, check=True, timeout=300)
    command = [str(venv / "bin" / program[0]), *program[1:]]
    with contextlib.ExitStack() as stack:
        running = [_asked(stack, command) for _ in range(count)]
        return proportional([each.pid for each in running]) / count


def _asked(stack: contextlib.ExitStack, command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Run one until it has answered once; it ends with the stack."""
    process = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    )
    stack.callback(process.kill)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(ASK)
    process.stdin.flush()
    process.stdout.readline()
    return process
