"""Runs the TypeScript SDK's clients that are asked and that listen (`questions_*.mjs`)."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

from tests.clients.npm import node
from tests.clients.typescript import Json, installed
from tests.matrix.peer import LEGACY, Shown

HERE = Path(__file__).parent
_SECONDS = 60


async def questions(url: str, mode: str, shown: Shown) -> Json:
    """Have the SDK's line for an era be asked everything, and give what it saw."""
    place = await asyncio.to_thread(_placed)
    script = "questions_legacy.mjs" if mode == LEGACY else "questions_modern.mjs"
    own = "note://list/text"
    about = {"prefix": shown.name(""), "own": own, "uri": shown.uri(own)}
    process = await asyncio.create_subprocess_exec(
        node()[0], script, url, json.dumps(about),
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


def _placed() -> Path:
    place = installed()
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, place / script.name)
    return place


def check(told: Json, revision: str) -> None:
    """See that the client was asked all of it and its answers arrived."""
    assert told["revision"] == revision
    texts = told["texts"]
    assert texts["ask_form"] == {"action": "accept", "content": {"name": "typescript"}}
    assert texts["ask_url"]["action"] == "accept"
    assert texts["ask_sampling"]["content"]["text"] == "sampled by typescript"
    assert texts["ask_sampling_tools"]["content"][1]["input"] == {"city": "Paris"}
    assert texts["ask_roots"]["roots"] == [{"uri": "file:///home/typescript", "name": "home"}]
    assert texts["ask_several"]["page"]["action"] == "accept"
    assert sorted(told["asked"]) == sorted(
        [
            "form",
            "url",
            "sampling/createMessage",
            "sampling/createMessage",
            "roots/list",
            "form",
            "roots/list",
            "url",
        ]
    )
