"""`tidegate rollout` shows where changes of servers are, and steers the one that is meant."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import Gateway, run_beside

UNDER_WAY: dict[str, Any] = {
    "server": "tides", "state": "under_way", "strategy": "canary", "step": "watching", "reason": "12 calls of the 20",
    "paused": False, "share": 0.1, "began": 1.0, "changed": 2.0, "old": "0" * 16, "new": "1" * 16, "undo": True,
    "versions": [
        {"digest": "0" * 16, "launch": "image a", "ready": 3, "of": 3, "calls": 108, "failures": 0, "p95": 0.02},
        {"digest": "1" * 16, "launch": "image b", "ready": 1, "of": 3, "calls": 12, "failures": 1, "p95": None},
    ],
}  # fmt: skip
ENDED: dict[str, Any] = {
    **UNDER_WAY, "server": "vessels", "state": "rolled_back", "step": None, "share": None, "versions": [],
    "reason": "its workloads failed 3 times: \x1b[31mno",
}  # fmt: skip


async def test_rollouts_are_shown_with_the_numbers_of_both_versions(gateway: Gateway) -> None:
    gateway.rollouts = [UNDER_WAY, ENDED]
    shown = await run_beside("rollout", "status", "--state", str(gateway.state))
    assert shown.status == 0
    line = next(each for each in shown.out.splitlines() if each.startswith("tides "))
    for told in ("under_way", "canary", "watching", "10%", "1 of 3", "12 (old: 108)", "1 (old: 0)", "20 ms"):
        assert told in line
    assert "rolled_back" in shown.out
    assert "\x1b[31mno" not in shown.out


async def test_a_rollout_that_ended_in_quarantine_is_said_to_have_and_why_on_a_narrow_screen(
    gateway: Gateway,
) -> None:
    reason = "it failed; it is not taken back, as the version before it had the mount /kept"
    gateway.rollouts = [
        {**ENDED, "server": "a-server-with-a-long-name", "state": "quarantined", "reason": reason}
    ]
    shown = await run_beside("rollout", "status", "--state", str(gateway.state), env={"COLUMNS": "80"})
    assert " quarantined " in shown.out
    assert shown.out.endswith(f": {reason}\n")


async def test_one_servers_rollout_and_none_are_told_as_such(gateway: Gateway) -> None:
    gateway.rollouts = [UNDER_WAY, ENDED]
    shown = await run_beside("rollout", "status", "vessels", "--json", "--state", str(gateway.state))
    assert [each["server"] for each in shown.json()["rollouts"]] == ["vessels"]
    shown = await run_beside("rollout", "status", "other", "--state", str(gateway.state))
    assert shown.out == "no rollout of other\n"
    gateway.rollouts = []
    shown = await run_beside("rollout", "status", "--state", str(gateway.state))
    assert shown.out == "no rollouts\n"


@pytest.mark.parametrize("what", ["pause", "promote", "undo"])
async def test_a_rollout_is_steered_by_its_server_or_as_the_only_one_under_way(
    gateway: Gateway, what: str
) -> None:
    gateway.rollouts = [UNDER_WAY, ENDED]
    for named in (["tides"], []):
        done = await run_beside("rollout", what, *named, "--state", str(gateway.state))
        assert done.status == 0, done.err
        assert "tides" in done.out
    assert gateway.bodies == [(f"tides/{what}", {})] * 2


async def test_it_has_to_be_said_which_rollout_is_meant_where_that_is_not_clear(gateway: Gateway) -> None:
    gateway.rollouts = [UNDER_WAY, {**UNDER_WAY, "server": "other"}]
    asked = await run_beside("rollout", "pause", "--state", str(gateway.state))
    assert (asked.status, asked.err) == (1, "tidegate: rollout pause: which of tides, other?\n")
    gateway.rollouts = []
    asked = await run_beside("rollout", "undo", "--state", str(gateway.state))
    assert asked.err == "tidegate: rollout undo: there are no rollouts\n"
    assert gateway.bodies == []
