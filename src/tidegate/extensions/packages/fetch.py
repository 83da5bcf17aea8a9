"""Fetch: what is there is verified and used; what is not is fetched whole, then put in place at once."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Package
from tidegate.extensions.packages import node, python
from tidegate.extensions.packages.names import Target, check, slug
from tidegate.extensions.packages.process import Run, environment, run
from tidegate.ports.extension import Surroundings

_WAIT = 1000.0
"""Seconds to wait for another fetch of the same package; longer than one may take."""
_LOOK = 0.1


@dataclass(frozen=True, slots=True)
class Fetched:
    """A package with all it depends on, on this machine."""

    directory: Path
    lock: Path
    executable: str
    digest: str
    """64 hex digits: SHA-256 of the lock."""


async def fetch(
    package: Package,
    target: Target,
    into: Path,
    say: Callable[[str], None],
    surroundings: Surroundings,
) -> Fetched:
    """Fetch `package` for `target` into a directory of its own below `into`, or verify what is there.

    Raises:
        RuntimeFailure: it cannot be had; one line with what and the index's own last word.
    """
    check(package)
    name = slug(package, target)
    try:
        os.makedirs(into, mode=0o700, exist_ok=True)
        async with alone(into / f".{name}.lock"):
            place = into / name
            kind = python if package.index == "pypi" else node
            if not await asyncio.to_thread(kind.holds, place):
                await _bring(package, target, place, say, surroundings)
            lock = place / kind.LOCK
            digest = hashlib.sha256(lock.read_bytes()).hexdigest()
            return Fetched(place, lock, kind.executable(package, place), digest)
    except OSError as error:
        what = f"{package.name} {package.version}"
        raise RuntimeFailure(f"{what} cannot be fetched into {into}: {error.strerror}") from error


async def _bring(
    package: Package,
    target: Target,
    place: Path,
    say: Callable[[str], None],
    surroundings: Surroundings,
) -> None:
    await asyncio.to_thread(_sweep, place)
    scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        tree, aside = scratch / "tree", scratch / "aside"
        tree.mkdir(mode=0o755)
        aside.mkdir()
        env = environment(surroundings, scratch)
        what = f"{package.name} {package.version}"
        if package.index == "pypi":
            (tree / python.WHEELS).mkdir()
            argv = python.download(package, target, tree)
        else:
            node.begin(package, tree)
            argv = node.install(target, aside)
        await run(Run(argv, tree, scratch, env, what), say)
        await asyncio.to_thread(_settle, package, tree, place)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, True)


def _sweep(place: Path) -> None:
    """Remove what fetches that were cut short left; we hold the lock, so nobody is at it."""
    for left in place.parent.glob(f".{place.name}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def _settle(package: Package, tree: Path, place: Path) -> None:
    """Lock what was fetched and put it in place, readable to the users that servers run as."""
    for parent, directories, names in os.walk(tree):
        for name in (*directories, *names):
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                mode = os.stat(path).st_mode & 0o777
                os.chmod(path, 0o755 if mode & 0o100 else 0o644)
    (python if package.index == "pypi" else node).write_lock(tree)
    if place.exists():
        shutil.rmtree(place)
    tree.rename(place)


@asynccontextmanager
async def alone(path: Path) -> AsyncGenerator[None, None]:
    """Hold the lock file at `path` against other tasks and other processes.

    Raises:
        RuntimeFailure: somebody else held it too long.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for _ in range(int(_WAIT / _LOOK)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOOK)
        else:
            raise RuntimeFailure(f"{path.name} was held for more than {_WAIT:.0f} s")
        yield
    finally:
        os.close(descriptor)
