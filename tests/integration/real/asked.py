"""What published servers are asked through the gateway, and what must come back; by each official client."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp.shared.exceptions import MCPError

from tests.clients.typescript import typescript
from tests.integration.gateway.gateway import MODERN, Gateway, sdk

CLIENTS = [(language, mode) for language in ("python", "typescript") for mode in ("legacy", MODERN)]
"""Each official client, in each era."""
LONG = "everything__trigger-long-running-operation"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A call, and a pattern for what the text of its answer must hold."""

    tool: str
    arguments: Json
    holds: str
    fails: bool = False


@dataclass(slots=True)
class Told:
    """What a client was told."""

    revision: str
    tools: list[str]
    answers: list[Json] = field(default_factory=list[Json])


EVERYTHING = [
    Asked("everything__echo", {"message": "ahoy ⚓"}, r"^Echo: ahoy ⚓$"),
    Asked("everything__get-sum", {"a": 40, "b": 2}, r"\b42\b"),
    Asked("everything__get-tiny-image", {}, r"image"),
    Asked("everything__get-structured-content", {"location": "New York"}, r"temperature"),
    Asked(LONG, {"duration": 0.4, "steps": 4}, r"completed.*Steps: 4"),
]
PUBLISHED = [
    Asked("time__get_current_time", {"timezone": "Asia/Tokyo"}, r'"timezone": "Asia/Tokyo"'),
    Asked(
        "time__convert_time",
        {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
        r"T21:00:00\+09:00",
    ),
    Asked("time__get_current_time", {"timezone": "Atlantis/Main"}, r"(?i)invalid timezone", fails=True),
    Asked("git__git_log", {"repo_path": "/data/wordings", "max_count": 1}, r"seventy-two hours"),
    Asked("git__git_show", {"repo_path": "/data/wordings", "revision": "HEAD"}, r"Mei Tan"),
    Asked("sqlite__list_tables", {}, r"vessels"),
    Asked("sqlite__read_query", {"query": "SELECT count(*) AS n FROM vessels"}, r"'n': [1-9]\d+"),
    Asked("filesystem__list_directory", {"path": "/data"}, r"clause\.txt"),
    Asked("filesystem__read_text_file", {"path": "/data/clause.txt"}, r"York-Antwerp"),
    Asked("filesystem__read_text_file", {"path": "/etc/hostname"}, r"(?i)access denied", fails=True),
    Asked(
        "memory__create_entities",
        {"entities": [{"name": "Ragnhild", "entityType": "vessel", "observations": ["built 1987"]}]},
        r"",
    ),
    Asked("memory__read_graph", {}, r"built 1987"),
    *EVERYTHING,
]


async def ask(gateway: Gateway, language: str, mode: str, steps: Sequence[Json]) -> Told:
    """Connect one client, list the tools and take the steps."""
    if language == "typescript":
        told = await typescript(gateway.url(), mode, steps)
        return Told(told["revision"], told["tools"], told["answers"])
    async with sdk(gateway.url(), mode) as client:
        tools, cursor = [], None
        while True:
            page = await client.list_tools(cursor=cursor)
            tools += [tool.name for tool in page.tools]
            if (cursor := page.next_cursor) is None:
                break
        told = Told(str(client.protocol_version), tools)
        for step in steps:
            told.answers.append(await _take(client, step))
        return told


async def _take(client: Any, step: Json) -> Json:
    """Take one step as the programs in `tests/clients` do."""
    progress: list[list[float | None]] = []
    with anyio.CancelScope() as scope:

        async def hear(done: float, total: float | None, message: str | None) -> None:
            progress.append([done, total])
            if len(progress) >= step.get("cancelAfter", 1 << 30):
                scope.cancel()

        try:
            result = await client.call_tool(step["tool"], step["arguments"], progress_callback=hear)
        except MCPError as error:
            return {"failed": str(error), "code": error.error.code, "progress": progress}
        content = [getattr(part, "text", part.type) for part in result.content]
        return {"content": content, "isError": bool(result.is_error), "progress": progress}
    return {"failed": "cancelled", "progress": progress}


async def check_answers(gateway: Gateway, language: str, mode: str, asked: Sequence[Asked]) -> Told:
    """Ask all of it and see that every answer is the right one."""
    steps = [{"tool": each.tool, "arguments": each.arguments} for each in asked]
    told = await ask(gateway, language, mode, steps)
    assert told.revision == ("2025-11-25" if mode == "legacy" else MODERN)
    assert {each.tool for each in asked} <= set(told.tools)
    wrong = [
        (each, answer) for each, answer in zip(asked, told.answers, strict=True) if not _right(each, answer)
    ]
    assert wrong == []
    return told


def _right(asked: Asked, answer: Json) -> bool:
    if "failed" in answer:
        return asked.fails and re.search(asked.holds, answer["failed"]) is not None
    text = "\n".join(answer["content"])
    return answer["isError"] == asked.fails and re.search(asked.holds, text, re.DOTALL) is not None


async def check_progress(gateway: Gateway, language: str, mode: str, tool: str = LONG) -> None:
    """See that progress comes, in order, with its totals, and before the answer."""
    told = await ask(gateway, language, mode, [{"tool": tool, "arguments": {"duration": 0.5, "steps": 5}}])
    assert told.answers[0]["content"], told.answers
    assert told.answers[0]["progress"] == [[step, 5] for step in range(1, 6)]


async def check_cancellation(gateway: Gateway, language: str, mode: str, tool: str = LONG) -> None:
    """See that a cancelled call ends at once, is recorded as cancelled, and leaves the server usable."""
    before = sum(each.get("outcome") == "cancelled" for each in gateway.records())
    echo = tool.replace(tool.partition("__")[2], "echo")
    steps = [
        {"tool": tool, "arguments": {"duration": 25, "steps": 250}, "cancelAfter": 2},
        {"tool": echo, "arguments": {"message": "still here"}},
    ]
    with anyio.fail_after(15):
        told = await ask(gateway, language, mode, steps)
    assert "failed" in told.answers[0], told.answers
    assert len(told.answers[0]["progress"]) >= 2
    assert told.answers[1]["content"] == ["Echo: still here"]
    with anyio.fail_after(10):
        while sum(each.get("outcome") == "cancelled" for each in gateway.records()) != before + 1:
            await anyio.sleep(0.05)
    assert gateway.status()["in_flight"] == 0
