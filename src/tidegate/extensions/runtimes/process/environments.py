"""Environments: what a server is run from, put together outside any sandbox and without a network.

A pypi package becomes a virtual environment, installed from its wheelhouse with hashes and kept by
digest; an npm package is run from its tree as fetched; a command brings the interpreter it needs.
No package's code runs here, except that Python compiles it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Command, Package
from tidegate.extensions.packages import Fetched, Target, fetch, find_node
from tidegate.extensions.packages.fetch import alone
from tidegate.extensions.packages.process import Run, environment, run
from tidegate.extensions.packages.python import pip
from tidegate.extensions.runtimes.process.launcher.job import Bind
from tidegate.extensions.runtimes.process.mounts import NODE, SERVER
from tidegate.ports.extension import Surroundings

PATH = "/usr/local/bin:/usr/bin:/bin"
_WHOLE = ".whole"
"""Marks an environment that was finished."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What to run, and what must be bound for it beside the host's own programs."""

    argv: tuple[str, ...]
    """Absolute, as seen inside."""
    binds: tuple[Bind, ...] = ()
    path: str = PATH
    facts: dict[str, str] = field(default_factory=dict[str, str])


async def for_package(
    package: Package,
    say: Callable[[str], None],
    surroundings: Surroundings,
    *,
    remapped: bool,
) -> Environment:
    """Fetch and install a package, or find it as it was left.

    `remapped`: the sandbox has a file system of its own, in which the environment is at `SERVER`.

    Raises:
        RuntimeFailure: it cannot be had.
    """
    packages = surroundings.state_dir / "packages"
    fetched = await fetch(package, Target(), packages, say, surroundings)
    facts = {"package": f"{package.index}:{package.name}=={package.version}", "digest": fetched.digest}
    if package.index == "npm":
        return _node_environment(package, fetched, facts, remapped=remapped)
    place = await _install(package, fetched, packages, say, surroundings)
    inside = SERVER if remapped else str(place)
    argv = (f"{inside}/bin/python", f"{inside}/bin/{fetched.executable}", *package.args)
    return Environment(argv, (Bind(str(place), inside), *_own_python()), f"{inside}/bin:{PATH}", facts)


def _node_environment(
    package: Package, fetched: Fetched, facts: dict[str, str], *, remapped: bool
) -> Environment:
    node = find_node().node
    inside = SERVER if remapped else str(fetched.directory)
    script = (fetched.directory / fetched.executable).resolve().relative_to(fetched.directory.resolve())
    binds = [Bind(str(fetched.directory), inside)]
    if _below_usr(str(node)):
        runs = str(node)
    else:
        runs = f"{NODE}/node" if remapped else str(node)
        binds.append(Bind(str(node), runs))
    path = f"{os.path.dirname(runs)}:{PATH}"
    return Environment((runs, f"{inside}/{script}", *package.args), tuple(binds), path, facts)


async def _install(
    package: Package,
    fetched: Fetched,
    packages: Path,
    say: Callable[[str], None],
    surroundings: Surroundings,
) -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    place = packages / f"env-{fetched.directory.name}-{fetched.digest[:16]}-{version}"
    async with alone(packages / f".{place.name}.lock"):
        if (place / _WHOLE).is_file() and (place / "bin" / "python").exists():
            return place
        what = f"{package.name} {package.version}"
        say(f"installing {what}")
        await asyncio.to_thread(shutil.rmtree, place, True)
        scratch = packages / f".{place.name}.tmp"
        await asyncio.to_thread(shutil.rmtree, scratch, True)
        scratch.mkdir()
        try:
            env = environment(surroundings, scratch)
            for argv in _installing(fetched, place):
                await run(Run(argv, scratch, scratch, env, what, "installed"), lambda _: None)
            await asyncio.to_thread(_open_to_servers, place)
            (place / _WHOLE).touch()
        finally:
            await asyncio.to_thread(shutil.rmtree, scratch, True)
    return place


def _installing(fetched: Fetched, place: Path) -> list[list[str]]:
    venv = [sys.executable, "-I", "-m", "venv", "--without-pip", str(place)]
    install = [
        *pip(), "--python", str(place / "bin" / "python"),
        "install", "--isolated", "--no-input", "--no-color", "--progress-bar=off", "--no-index", "--no-deps",
        "--only-binary=:all:", "--require-hashes",
        f"--find-links={fetched.directory / 'wheels'}", f"--requirement={fetched.lock}",
    ]  # fmt: skip
    return [venv, install]


def _open_to_servers(place: Path) -> None:
    """Let every user read it: which of them gets there is for the sandbox to say."""
    for parent, directories, names in os.walk(place):
        for name in (*directories, *names):
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                mode = os.stat(path).st_mode & 0o777
                os.chmod(path, 0o755 if mode & 0o100 else 0o644)
    place.chmod(0o755)


def for_command(command: Command, binds: Sequence[Bind]) -> Environment:
    """Find a declared command's program, and bind its interpreter where that is not below /usr.

    Raises:
        RuntimeFailure: the program is not where the sandbox will have it.
    """
    name = command.argv[0]
    program = name if name.startswith("/") else shutil.which(name, path=PATH)
    if program is None or (not name.startswith("/") and "/" in name):
        raise RuntimeFailure(f"command {name} is not found: give its absolute path")
    for bind in binds:
        if program == bind.target or program.startswith(bind.target.rstrip("/") + "/"):
            seen = bind.source + program[len(bind.target.rstrip("/")) :]
            _must_run(program, seen)
            return Environment((program, *command.argv[1:]))
    _must_run(program, program)
    needed: list[Bind] = []
    for path in dict.fromkeys((program, os.path.realpath(program))):
        needed += [bind for bind in _interpreter(path) if bind not in needed]
    return Environment((program, *command.argv[1:]), tuple(needed))


def _must_run(program: str, seen: str) -> None:
    if not os.path.isfile(seen):
        raise RuntimeFailure(f"command {program} does not exist")
    if not os.access(seen, os.X_OK):
        raise RuntimeFailure(f"command {program} is not executable")


def _below_usr(path: str) -> bool:
    return path.startswith(("/usr/", "/bin/", "/sbin/", "/lib"))


def _interpreter(path: str) -> list[Bind]:
    """Bind what a program outside /usr needs: its virtual environment, its Python, or itself."""
    if _below_usr(path):
        return []
    prefix = os.path.dirname(os.path.dirname(path))
    name = os.path.basename(path)
    settings = os.path.join(prefix, "pyvenv.cfg")
    if os.path.isfile(settings):
        home = _home_of(settings)
        return [Bind(prefix, prefix), *(_interpreter(os.path.join(home, "python3")) if home else [])]
    if name.startswith("python") and _has_library(prefix):
        return [Bind(prefix, prefix)]
    return [Bind(path, path)]


def _own_python() -> list[Bind]:
    return _interpreter(os.path.realpath(sys.executable))


def _has_library(prefix: str) -> bool:
    """Whether a whole Python is below `prefix`, and not, say, a home's `.local`."""
    library = os.path.join(prefix, "lib")
    names = os.listdir(library) if os.path.isdir(library) else []
    return any(os.path.isfile(os.path.join(library, name, "os.py")) for name in names if name[:6] == "python")


def _home_of(settings: str) -> str | None:
    with open(settings, encoding="utf-8") as opened:
        for line in opened.read(65536).splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "home" and value.strip().startswith("/"):
                return value.strip()
    return None
