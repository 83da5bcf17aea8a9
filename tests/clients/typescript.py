"""The official TypeScript clients: installed once from the lock beside this file, run as child processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.clients import npm
from tests.clients.npm import node

HERE = Path(__file__).parent
LINES = {"legacy": "2025-11-25", "2026-07-28": "2026-07-28"}
"""The revision that each line of the SDK speaks with a server of both eras."""
_SECONDS = 60

Json = dict[str, Any]


def installed() -> Path:
    """Install what the lock names, once, and give the directory; the programs are copied beside it."""
    return npm.installed("clients", HERE)


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
