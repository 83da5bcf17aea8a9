"""Image: what sidecars are made from: the base of Python packages, and the program in `sidecar`."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.docker.bases import Bases
from tidegate.extensions.runtimes.docker.builder import CONTEXT, build_image
from tidegate.extensions.runtimes.docker.context import Context, entrypoint, run
from tidegate.extensions.runtimes.docker.engine import Engine
from tidegate.extensions.runtimes.docker.images import Pulls, Resolved, Say
from tidegate.ports.runtime import Progress

_PROGRAM = Path(__file__).parent / "sidecar"
_PACKAGE = "tidegate.extensions.runtimes.docker.egress.sidecar"
_ROOT = "/opt/tidegate"


class SidecarImage:
    """Makes the image, once for each base."""

    def __init__(self, engine: Engine, pulls: Pulls, bases: Bases, named: str | None) -> None:
        """`named` is the base that the settings name for it."""
        self._engine = engine
        self._pulls = pulls
        self._bases = bases
        self._named = named
        self._making = asyncio.Lock()

    async def have(self) -> Resolved:
        """Give the image, which `bring` made sure of.

        Raises:
            RuntimeFailure: the engine does not have it.
        """
        base = await self._pulls.have(self._named) if self._named else await self._bases.have("pypi")
        image = None if base is None else await self._pulls.have(image_name(base.id))
        if image is None:
            raise RuntimeFailure("the image of the network's sidecars is not on the engine")
        return image

    async def bring(self, server: str, say: Say) -> Resolved:
        """Give the image, building it where it is not there.

        Raises:
            RuntimeFailure: its base cannot be had, or the build failed.
        """
        base = await (
            self._pulls.bring(self._named, server, say)
            if self._named
            else self._bases.bring("pypi", server, say)
        )
        name = image_name(base.id)

        async def write(work: Path) -> Mapping[str, str]:
            say(Progress(server, "building the network's sidecars"))
            await asyncio.to_thread(_pack, work, base.id)
            return {"dev.tidegate.base": f"{base.name} {base.digest}"}

        async with self._making:
            return await self._pulls.have(name) or await build_image(self._engine, name, write)


def image_name(base: str) -> str:
    """Give `tidegate/sidecar:<16 hex digits>`, of the base and the program."""
    parts = [base, *(f"{path.name}:{path.read_text(encoding='utf-8')}" for path in _files())]
    return f"tidegate/sidecar:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def _files() -> list[Path]:
    return sorted(_PROGRAM.glob("*.py"))


def _pack(work: Path, base: str) -> None:
    place = _PACKAGE.replace(".", "/")
    lines = [
        f"FROM {base}",
        "USER 0",
        f"COPY tidegate {_ROOT}/tidegate",
        f"ENV PYTHONPATH={_ROOT} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
        run("python3", "-m", "compileall", "-q", _ROOT),
        "WORKDIR /",
        entrypoint("python3", "-S", "-s", "-m", _PACKAGE),
    ]
    with Context(work / CONTEXT) as context:
        context.dockerfile(lines)
        for path in _files():
            context.file(f"{place}/{path.name}", path)
