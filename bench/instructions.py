"""How many machine instructions a call takes, counted by valgrind: the same on a busy machine as on a quiet one.

It must not be mistaken for time: a system call counts as the instructions around it, a cache miss as none. It
tells whether a change made the path longer, to a per cent, where CPU time says so only within ten.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from bench import gateway
from bench.connection import Failed, connect
from bench.gateway import Mode, Settings, serving
from bench.process import http_upstream
from bench.series import Subject, first_answer
from bench.wire import Era, fault

FEW, MANY = 400, 2000
"""Calls of the two runs whose difference is counted, so that start and end are not."""


async def count() -> dict[str, float]:
    """Count for a governed call, in front of an HTTP upstream and of a stdio process. Takes two minutes.

    Raises:
        Failed: valgrind is missing, or a call was not answered rightly.
    """
    if shutil.which("valgrind") is None:
        raise Failed(
            "instructions are counted by valgrind, which is not installed (Debian's package valgrind)"
        )
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        place = Path(directory)
        async with http_upstream(place) as url:
            found = {"governed, HTTP": await _each(place, gateway.remote(url))}
        found["governed, stdio process"] = await _each(place, gateway.process(unsandboxed=True))
    return found


async def _each(place: Path, server: Settings) -> float:
    return (await _run(place, server, MANY) - await _run(place, server, FEW)) / (MANY - FEW)


async def _run(place: Path, server: Settings, calls: int) -> int:
    """Count the instructions of a whole run."""
    log = place / "valgrind.log"
    under = (
        "valgrind",
        "--tool=cachegrind",
        "--cache-sim=no",
        "--cachegrind-out-file=/dev/null",
        f"--log-file={log}",
    )
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"  # else sets and dicts differ from run to run
    try:
        async with serving(Mode.GOVERNED, server, under=under) as started:
            await first_answer(Subject(started.target, started.program), Era.LEGACY)
            connection, requests = await connect(started.target, Era.LEGACY, 1)
            try:
                for number in range(1, calls + 1):
                    words = requests.words(number)
                    status, body = await connection.ask(requests.call(number, words))
                    if wrong := fault(status, body, number, words):
                        raise Failed(wrong)
            finally:
                connection.close()
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before
    said = re.search(r"I\s+refs:\s+([\d,]+)", log.read_text())
    if said is None:
        raise Failed("valgrind did not say how many instructions it counted")
    return int(said[1].replace(",", ""))
