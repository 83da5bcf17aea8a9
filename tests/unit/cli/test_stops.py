"""`tidegate stop`, `stops` and `resume` where no gateway runs; beside one that does, tests/integration has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Ran, run
from tidegate.state_directory import StateDirectory


def stop(state: Path, *arguments: str, given: str | None = None) -> Ran:
    return run("stop", *arguments, "--state", str(state), given=given)


def records(state: Path) -> list[dict[str, Any]]:
    lines = [line for each in (state / "journal").glob("*.jsonl") for line in each.read_bytes().splitlines()]
    return [json.loads(line) for line in lines if json.loads(line)["kind"] == "admin"]


def test_a_stop_waits_for_the_next_gateway_is_recorded_listed_and_taken_back(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert run("stops", "--state", str(state)).out == "nothing is stopped\n"
    assert not state.exists()
    ran = stop(state, "--tool", "claims__pay*", "--reason", "pays twice", "--for", "2h")
    assert ran.status == 0, ran.err
    assert ran.out.startswith("stopped: tool claims__pay* until ")
    assert "no gateway runs here" in ran.err
    (listed,) = run("stops", "--json", "--state", str(state)).json()["stops"]
    assert (listed["scope"], listed["name"], listed["reason"]) == ("tool", "claims__pay*", "pays twice")
    assert listed["until"] == pytest.approx(listed["since"] + 7200)
    assert listed["by"].endswith(" (command)")
    shown = run("stops", "--state", str(state)).out
    assert "tool claims__pay*" in shown
    assert "pays twice" in shown
    assert run("resume", listed["id"], "--state", str(state)).out == f"resumed: {listed['id']}\n"
    assert run("stops", "--state", str(state)).out == "nothing is stopped\n"
    first, second = records(state)
    assert (first["data"]["event"], first["data"]["name"]) == ("stop", "claims__pay*")
    assert (first["data"]["reason"], first["data"]["via"]) == ("pays twice", "command")
    assert (second["data"]["event"], second["data"]["id"]) == ("resume", listed["id"])


def test_everything_that_is_stopped_is_resumed_at_once(tmp_path: Path) -> None:
    stop(tmp_path, "--principal", "ann", "--issuer", "key", "--reason", "r")
    stop(tmp_path, "--tenant", "marine", "--reason", "r")
    stop(tmp_path, "--client", "agent-7", "--reason", "r")
    assert "principal ann of key" in run("stops", "--state", str(tmp_path)).out
    resumed = run("resume", "--all", "--json", "--state", str(tmp_path)).json()["resumed"]
    assert len(resumed) == 3
    assert run("resume", "--all", "--state", str(tmp_path)).out == "nothing was stopped\n"


def test_a_stop_of_everything_has_to_be_confirmed(tmp_path: Path) -> None:
    refused = stop(tmp_path, "--all", "--reason", "drill", given="n\n")
    assert refused.status == 1
    assert "nothing was stopped" in refused.err
    assert stop(tmp_path, "--all", "--reason", "drill", given="").status == 1
    assert run("stops", "--state", str(tmp_path)).out == "nothing is stopped\n"
    assert stop(tmp_path, "--all", "--reason", "drill", given="y\n").status == 0
    assert stop(tmp_path, "--all", "--reason", "drill", "--yes").status == 0
    assert len(run("stops", "--json", "--state", str(tmp_path)).json()["stops"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--reason", "r"), "say what to stop"),
        (("--server", "a", "--tenant", "t", "--reason", "r"), "say what to stop"),
        (("--server", "a"), "missing option '--reason'"),
        (("--server", "a", "--reason", " "), "a stop needs a reason"),
        (("--tool", "pay", "--reason", "r"), "a tool is said as server__tool"),
        (("--server", "a", "--issuer", "key", "--reason", "r"), "only a principal has an issuer"),
        (("--server", "a", "--reason", "r", "--for", "soon"), "--for: should be a duration"),
        (("--server", "a", "--reason", "r", "--for", "0s"), "--for: should be between"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    ran = stop(tmp_path / "state", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err
    assert not (tmp_path / "state").exists()


def test_a_stop_that_is_not_there_is_told(tmp_path: Path) -> None:
    StateDirectory.open(tmp_path / "state").close()
    for state in (tmp_path / "state", tmp_path / "none"):
        ran = run("resume", "nothing", "--state", str(state))
        assert (ran.status, ran.out) == (1, "")
        assert "no stop 'nothing' is in force" in ran.err
    assert run("resume", "--state", str(tmp_path)).status == 2
    assert run("resume", "x", "--all", "--state", str(tmp_path)).status == 2
