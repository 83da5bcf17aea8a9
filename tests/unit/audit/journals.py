"""What the journal's tests share: a journal in a directory, calls to write, records to read."""

import json
from pathlib import Path
from typing import Any

from tidegate.audit.journal import Journal
from tidegate.domain.principal import Principal
from tidegate.domain.record import Outcome
from tidegate.domain.target import Decision, Kind, Target
from tidegate.ports.recorder import Intent
from tidegate.testing.clock import VirtualClock

KEY = bytes(range(32))
ALICE = Principal("default", "key", "alice", frozenset({"user", "admin"}))
TOOL = Target("time", Kind.TOOL, "get_current_time")
ALLOWED = Decision(True, "/mcp rules[0]")


def open_journal(directory: Path, **changes: Any) -> Journal:
    given: dict[str, Any] = {"key": KEY, "writer": "w", "clock": VirtualClock(), **changes}
    return Journal.open(directory, **given)


def begin(journal: Journal, call_id: str = "call-1", **changes: Any) -> Intent:
    given: dict[str, Any] = {
        "principal": ALICE,
        "endpoint": "/mcp",
        "target": TOOL,
        "shown": "time__get_current_time",
        "decision": ALLOWED,
        "workload": "tg-time-01234567",
        "arguments": b"{}",
        "client": "test 1.0",
        "revision": "2025-11-25",
        **changes,
    }
    return journal.intent(call_id=call_id, **given)


def end(journal: Journal, intent: Intent, outcome: Outcome = Outcome.OK) -> None:
    journal.outcome(intent, outcome, size=10, duration_us=1500)


def call(journal: Journal, call_id: str = "call-1") -> None:
    end(journal, begin(journal, call_id))


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("journal-*.jsonl"))


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in files(directory) for line in path.read_bytes().splitlines()]


def kinds(directory: Path) -> list[str]:
    return [
        record["kind"] + (":" + record["part"] if "part" in record else "") for record in records(directory)
    ]
