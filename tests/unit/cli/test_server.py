"""`tidegate server` and `tidegate events` against a control socket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import DETAIL, Gateway, run, run_beside


async def test_show_tells_demand_versions_workloads_and_history(gateway: Gateway) -> None:
    ran = await run_beside("server", "show", "time", "--state", str(gateway.state))
    assert ran.status == 0
    assert "last minute: 40 calls, 2 broke, 1 errors; waited for a place: 500 ms (p95)" in ran.out
    versions = [line.split() for line in ran.out.splitlines() if line.startswith(("aaaa", "bbbb"))]
    assert versions == [
        ["aaaa", "(current)", "90%", "30", "0", "1", "20", "ms"],
        ["bbbb", "10%", "3", "2", "0", "-"],
    ]
    assert "tg-time-0a0a0a0a  ready  healthy" in ran.out
    assert ran.out.rstrip().endswith("tg-time-0a0a0a0a failed: exit \\x1b[31m3")
    assert "\x1b" not in ran.out


async def test_show_in_json_is_what_the_gateway_said(gateway: Gateway) -> None:
    ran = await run_beside("server", "show", "time", "--state", str(gateway.state), "--json")
    assert ran.json() == DETAIL


@pytest.mark.parametrize(
    ("arguments", "sent", "said"),
    [
        (["restart", "time"], {"reason": "", "wait": 60.0}, "restarted time\n"),
        (["scale", "time", "2"], {"min": 2, "max": None, "reason": ""}, "time is to have 2 workloads\n"),
        (["scale", "time", "0:4", "--reason", "r"], {"min": 0, "max": 4, "reason": "r"}, "time is to have 0:4 workloads\n"),
        (["quarantine", "time", "--reason", "leaks"], {"reason": "leaks"}, "time is in quarantine\n"),
        (["release", "time"], {"reason": ""}, "time is out of quarantine\n"),
    ],
)  # fmt: skip
async def test_what_is_asked_for_is_sent_and_said_when_done(
    gateway: Gateway, arguments: list[str], sent: object, said: str
) -> None:
    ran = await run_beside("server", *arguments, "--state", str(gateway.state))
    assert (ran.status, ran.out) == (0, said)
    assert gateway.bodies == [(arguments[0], sent)]


async def test_a_restart_that_goes_on_is_said_to(gateway: Gateway) -> None:
    gateway.done = False
    ran = await run_beside("server", "restart", "time", "--wait", "0", "--state", str(gateway.state))
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == "tidegate: time is being restarted; tidegate events shows how it goes\n"


@pytest.mark.parametrize("replicas", ["x", "1:2:3", "-1", ":3", "99999"])
def test_replicas_that_are_no_numbers_are_refused_before_anything_is_asked(
    tmp_path: Path, replicas: str
) -> None:
    ran = run("server", "scale", "time", "--state", str(tmp_path), "--", replicas)
    assert ran.status == 2
    assert "should be a number" in ran.err


async def test_an_unknown_server_is_told_with_the_known_ones(gateway: Gateway) -> None:
    for command in (["show", "nine"], ["restart", "nine"]):
        ran = await run_beside("server", *command, "--state", str(gateway.state))
        assert (ran.status, ran.err) == (1, "tidegate: no server 'nine' (known: time)\n")


@pytest.mark.parametrize(
    "command",
    [["server", "show", "a"], ["server", "release", "a"], ["events"], ["servers", "--watch"]],
)
def test_without_a_gateway_every_one_says_so(tmp_path: Path, command: list[str]) -> None:
    ran = run(*command, "--state", str(tmp_path))
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"tidegate: no gateway runs on {tmp_path} (start one with tidegate serve)\n"


async def test_events_are_a_line_each_without_commands_to_the_terminal(gateway: Gateway) -> None:
    ran = await run_beside("events", "--server", "time", "-n", "5", "--state", str(gateway.state))
    lines = [line.split("  ", 1)[1] for line in ran.out.splitlines()]
    assert lines == ["workload  time w ready", "admin     time restart reason=a\\x1b[2Jb"]
    assert dict(gateway.asked[0].query) == {"recent": "5", "follow": "1", "server": "time"}


async def test_events_in_json_are_an_object_a_line(gateway: Gateway) -> None:
    ran = await run_beside("events", "--json", "--no-follow", "--state", str(gateway.state))
    first, second = (json.loads(line) for line in ran.out.splitlines())
    assert first == {"event": "workload", "time": 1, "server": "time", "workload": "w", "state": "ready"}
    assert (second["event"], second["what"]) == ("admin", "restart")
    assert gateway.asked[0].query["follow"] == "0"
