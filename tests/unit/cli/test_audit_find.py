"""`tidegate audit find` and `show`, over a real journal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import run
from tidegate.audit.journal import Journal
from tidegate.domain.principal import Principal
from tidegate.domain.record import Outcome, RecordKind
from tidegate.domain.target import Decision, Kind, Target
from tidegate.testing.clock import VirtualClock


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory whose journal has a workload's start and end, and a call."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    journal = Journal.open(state / "journal", key=bytes(32), writer="w", clock=VirtualClock())
    started = {"event": "started", "server": "time", "workload": "tg-time-0a"}
    journal.event(RecordKind.WORKLOAD, started)
    intent = journal.intent(
        call_id="call-1", principal=Principal("default", "key", "alice"), endpoint="/mcp",
        target=Target("time", Kind.TOOL, "now"), shown="time__now", decision=Decision(True, "/mcp rules[0]"),
        workload="tg-time-0a", arguments=b"{}", client="test 1.0", revision="2025-11-25",
    )  # fmt: skip
    journal.outcome(intent, Outcome.OK, size=10, duration_us=1500)
    journal.event(RecordKind.WORKLOAD, {**started, "event": "stopped", "reason": "idle for 300 s"})
    journal.close()
    return state


def test_a_record_is_a_line_that_says_what_of_and_how(state: Path) -> None:
    ran = run("audit", "find", "--state", str(state), "--server", "time")
    assert ran.status == 0, ran.err
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    (stopped,) = (line for line in lines if "stopped" in line)
    assert "workload stopped tg-time-0a idle for 300 s" in stopped
    assert any("workload started tg-time-0a" in line for line in lines)
    assert any("call.intent alice (default) time__now /mcp rules[0] call-1" in line for line in lines)


def test_a_calls_records_are_shown_whole_and_one_that_is_not_there_is_said(state: Path) -> None:
    shown = run("audit", "show", "call-1", "--state", str(state))
    kinds = [json.loads(line)["kind"] for line in shown.out.splitlines()]
    assert kinds == ["call.outcome", "call.intent"]
    missing = run("audit", "show", "call-2", "--state", str(state))
    assert (missing.status, missing.out) == (1, "")
    assert "the journal has no call call-2" in missing.err
