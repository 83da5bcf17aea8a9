"""Builder: one build on the engine, from a context written into a directory that is gone afterwards."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.docker.engine import Engine
from tidegate.extensions.runtimes.docker.images import Resolved, resolved

CONTEXT = "context.tar"
STAGE_LABEL = "dev.tidegate.stage"
"""Label, with the tag as its value, of stages that a build leaves without a name; they are removed after it."""

Write = Callable[[Path], Awaitable[Mapping[str, str]]]
"""Writes `CONTEXT` into a directory and gives the image's labels."""


async def build_image(engine: Engine, tag: str, write: Write) -> Resolved:
    """Build an image and give it.

    Raises:
        RuntimeFailure: it cannot be built.
    """
    work = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="tidegate-build-"))
    try:
        labels = await write(work)
        with await asyncio.to_thread((work / CONTEXT).open, "rb") as context:
            await engine.build(tag, labels, context, lambda _: None)
    finally:
        await asyncio.to_thread(shutil.rmtree, work, True)
        await engine.prune_images(f"{STAGE_LABEL}={tag}")
    found = await engine.image(tag)
    if found is None:
        raise RuntimeFailure(f"image {tag} was built and is not there")
    return resolved(tag, found)
