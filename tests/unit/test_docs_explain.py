"""The page on explaining is true: what its commands write is what it says."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from tests.unit.cli.conftest import run
from tests.unit.test_docs import ROOT, blocks
from tidegate.audit.journal import Journal
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind
from tidegate.extensions import table
from tidegate.extensions.state.sqlite import SQLITE, SqliteSettings
from tidegate.gateway.definitions import Definition, Definitions, DefinitionStore, Listed
from tidegate.gateway.explain import Part
from tidegate.ports.extension import Surroundings
from tidegate.settings import load
from tidegate.state_directory import StateDirectory

PAGE = ROOT / "docs" / "explain.md"
PAY = {"amount": {"type": "integer"}, "note": {"type": "string"}}
DENIED: dict[str, Any] = {
    "call": "fb4qwcno-6", "method": "tools/call", "name": "claims__pay", "endpoint": "/mcp", "peer": "10.0.0.7",
    "message": "this is not allowed with these arguments", "rule": "no rule",
    "target": {"server": "claims", "kind": "tool", "name": "pay"},
    "reads": {"principal.roles": '["adjuster"]', "principal.limit": "5000", "context.arguments.amount": "6000"},
    "because": "claims.cedar#pay (line 1) would allow it where context.arguments.amount (now 6000) is at most "
    "principal.limit (now 5000)",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    (settings,), (policies,) = blocks(PAGE, "yaml"), blocks(PAGE, "cedar")
    (tmp_path / "tidegate.yaml").write_text(settings)
    (tmp_path / "claims.cedar").write_text(policies)
    asyncio.run(kept(tmp_path))
    yield tmp_path
    monkeypatch.undo()
    time.tzset()


async def kept(place: Path) -> None:
    """Have the state directory know what the server lists, and its journal a call that was denied."""
    (spec,) = load(place / "tidegate.yaml", table).servers
    schemas = {"pay": {"type": "object", "properties": PAY}, "get_claim": {"type": "object"}}
    tools = tuple(
        Definition(
            name, {"name": Raw(json.dumps(name).encode()), "inputSchema": Raw(json.dumps(schema).encode())}
        )
        for name, schema in schemas.items()
    )
    with StateDirectory.open(place / ".tidegate") as directory:
        async with SQLITE.open(SqliteSettings(), Surroundings(directory.path, directory.instance)) as state:
            await DefinitionStore(state).save(spec, Definitions({Kind.TOOL: Listed(tools)}))
        journal = Journal.open(
            directory.journal,
            key=directory.key("journal"),
            writer=directory.instance,
            clock=lambda: 1_795_407_129,
        )
        who = Principal("default", "https://id.example.com", "alice", frozenset({"adjuster"}))
        journal.refused("denied", who, DENIED)
        journal.close()


def commands() -> list[tuple[str, str]]:
    """Give the page's commands, each with what it says that they write."""
    found: list[tuple[str, str]] = []
    for block in blocks(PAGE, "console"):
        first, _, rest = block.partition("\n")
        if first.startswith("$ tidegate explain"):
            found.append((first.removeprefix("$ "), rest))
    return found


def test_every_command_of_the_page_writes_what_the_page_says(place: Path) -> None:
    assert len(commands()) == 4
    for command, said in commands():
        ran = run(*shlex.split(command)[1:], "--config", str(place / "tidegate.yaml"))
        assert ran.status == 0, ran.err
        assert plain(ran.out) == plain(said), command


def plain(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def test_every_part_that_decides_is_on_the_page() -> None:
    rows = re.findall(r"^\| `([a-z]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [part.value for part in Part]
