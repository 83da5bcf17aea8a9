"""Build: an image of a server package: base, what `packages` fetched, and nothing else.

The parts are fetched on this machine and locked by hash; the build itself has no network and installs as a
user without rights. The image's name tells the package, its tag what was asked for and the base, so that an
image which is there is used again; the lock's digest is on its labels.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Package
from tidegate.extensions.packages import Fetched, Target, fetch
from tidegate.extensions.runtimes.docker.bases import Bases, machine_of
from tidegate.extensions.runtimes.docker.builder import CONTEXT, STAGE_LABEL, build_image
from tidegate.extensions.runtimes.docker.context import Context, entrypoint, run
from tidegate.extensions.runtimes.docker.engine import Engine
from tidegate.extensions.runtimes.docker.harden import NOBODY
from tidegate.extensions.runtimes.docker.images import Pulls, Resolved, Say
from tidegate.extensions.runtimes.docker.tools import PIP, bring_tool
from tidegate.ports.extension import Surroundings
from tidegate.ports.runtime import Progress

_RECIPE = 1
"""Counts the changes of what this module makes; part of every tag."""
_SERVER = "/opt/server"


class Builds:
    """Makes images of packages, each once."""

    def __init__(self, engine: Engine, pulls: Pulls, bases: Bases, surroundings: Surroundings) -> None:
        self._engine = engine
        self._pulls = pulls
        self._bases = bases
        self._surroundings = surroundings
        self._building: dict[str, asyncio.Lock] = {}

    async def have(self, package: Package) -> Resolved | None:
        """Give the package's image if the engine has it."""
        base = await self._bases.have(package.index)
        return None if base is None else await self._pulls.have(image_name(package, base.id))

    async def bring(self, package: Package, server: str, say: Say) -> Resolved:
        """Give the package's image, building it where it is not there.

        Raises:
            RuntimeFailure: the base, the package or the build cannot be had.
        """
        base = await self._bases.bring(package.index, server, say)
        tag = image_name(package, base.id)

        def told(text: str) -> None:
            say(Progress(server, text))

        async def write(work: Path) -> Mapping[str, str]:
            target = target_of(package, base)
            into = self._surroundings.state_dir / "packages"
            fetched = await fetch(package, target, into, told, self._surroundings)
            told(f"building {package.name} {package.version}")
            if package.index == "pypi":
                pip = await bring_tool(PIP, target, self._surroundings)
                await asyncio.to_thread(_pack_python, work, base, fetched, pip, tag)
            else:
                await asyncio.to_thread(_pack_node, work, base, fetched)
            return labels(package, base, fetched)

        async with self._building.setdefault(tag, asyncio.Lock()):
            return await self._pulls.have(tag) or await build_image(self._engine, tag, write)


def image_name(package: Package, base: str) -> str:
    """Give `tidegate/<package>:<16 hex digits>`, of what is asked for and the base it is put on."""
    asked = [package.index, package.name, package.version, sorted(package.extras), package.executable]
    text = json.dumps([_RECIPE, base, *asked])
    slug = re.sub(r"[^a-z0-9]+", "-", package.name.lower()).strip("-")
    return f"tidegate/{slug}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def labels(package: Package, base: Resolved, fetched: Fetched) -> dict[str, str]:
    """Give the labels that say what an image was built from."""
    return {
        "dev.tidegate.package": f"{package.index}:{package.name}=={package.version}",
        "dev.tidegate.lock": f"sha256:{fetched.digest}",
        "dev.tidegate.base": f"{base.name} {base.digest}",
    }


def target_of(package: Package, base: Resolved) -> Target:
    """Say what a package is to be fetched for.

    Raises:
        RuntimeFailure: the base does not tell its Python.
    """
    if package.index != "pypi":
        return Target(machine=machine_of(base))
    version = re.match(r"3\.[0-9]+", base.environment.get("PYTHON_VERSION", ""))
    if version is None:
        raise RuntimeFailure(f"base {base.name} does not tell its Python in the variable PYTHON_VERSION")
    return Target(python=version[0], machine=machine_of(base))


def _pack_python(work: Path, base: Resolved, fetched: Fetched, pip: Path, tag: str) -> None:
    # pip runs from its wheel, so that neither the base nor the image needs it. It is isolated (-I) from the
    # environment, finds no index, and takes only what the lock names.
    install = ("pip", "install", "--no-input", "--no-cache-dir", "--no-index", "--find-links=/parts/wheels")
    python = f"{_SERVER}/bin/python"
    lines = [
        f"FROM {base.id} AS build",
        f"LABEL {STAGE_LABEL}={tag}",
        "COPY parts /parts",
        f"COPY --chown={NOBODY} server {_SERVER}",
        f"USER {NOBODY}",
        "ENV HOME=/tmp",
        run("python3", "-m", "venv", "--without-pip", _SERVER),
        run(
            python,
            "-I",
            f"/parts/pip.whl/{install[0]}",
            *install[1:],
            "--require-hashes",
            "-r",
            "/parts/lock",
        ),
        f"FROM {base.id}",
        f"COPY --from=build --chown=0:0 {_SERVER} {_SERVER}",
        f"USER {NOBODY}",
        "WORKDIR /tmp",
        "ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
        entrypoint(f"{_SERVER}/bin/{fetched.executable}"),
        "CMD []",
    ]
    with Context(work / CONTEXT) as context:
        context.dockerfile(lines)
        context.directory("server")
        context.directory("parts")
        context.file("parts/pip.whl", pip)
        context.file("parts/lock", fetched.lock)
        context.tree("parts/wheels", fetched.directory / "wheels")


def _pack_node(work: Path, base: Resolved, fetched: Fetched) -> None:
    lines = [
        f"FROM {base.id}",
        f"COPY server {_SERVER}",
        f"USER {NOBODY}",
        "WORKDIR /tmp",
        "ENV HOME=/tmp NODE_ENV=production",
        entrypoint("node", f"{_SERVER}/{fetched.executable}"),
        "CMD []",
    ]
    with Context(work / CONTEXT) as context:
        context.dockerfile(lines)
        context.tree("server", fetched.directory)
