"""`tidegate signal` against a control socket."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Gateway, run, run_beside


async def test_signals_are_a_table_of_what_they_are_until_when_and_whose(gateway: Gateway) -> None:
    ran = await run_beside("signal", "--state", str(gateway.state))
    rows = [re.split(r" {2,}", line.strip()) for line in ran.out.splitlines()]
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1_800_000_000))
    assert rows == [
        ["SIGNAL", "STATE", "UNTIL", "SERVERS"],
        ["gale", "on", "turned off", "-"],
        ["sale", "on", until, "time"],
        ["storm", "off", "-", "time, ves\\x1b[2Jsels"],
    ]
    one = await run_beside("signal", "sale", "--json", "--state", str(gateway.state))
    assert one.json() == {
        "signals": [{"signal": "sale", "on": True, "until": 1_800_000_000, "servers": ["time"]}]
    }
    gateway.signals = []
    none = await run_beside("signal", "--state", str(gateway.state))
    assert none.out == "no signals: no server has replicas by one (scaling.signals)\n"


@pytest.mark.parametrize(
    ("arguments", "sent", "said"),
    [
        (["on"], {"on": True, "seconds": None, "reason": ""}, "storm is on: time"),
        (["off", "--reason", "over"], {"on": False, "seconds": None, "reason": "over"}, "storm is off: time"),
        (["on", "--for", "2h"], {"on": True, "seconds": 7200.0, "reason": ""}, "storm is on until "),
    ],
)
async def test_a_signal_is_turned_on_for_a_time_or_until_it_is_turned_off(
    gateway: Gateway, arguments: list[str], sent: object, said: str
) -> None:
    ran = await run_beside("signal", "storm", *arguments, "--state", str(gateway.state))
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(said)
    assert gateway.bodies == [("storm", sent)]
    told = await run_beside("signal", "storm", *arguments, "--json", "--state", str(gateway.state))
    assert told.json()["on"] is (arguments[0] == "on")


async def test_an_unknown_signal_is_told_with_the_known_ones(gateway: Gateway) -> None:
    for arguments in ([], ["on"]):
        ran = await run_beside("signal", "strom", *arguments, "--state", str(gateway.state))
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith("tidegate: no server is told by a signal 'strom' (known: ")
        assert "storm" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["storm", "off", "--for", "2h"], "--for: only what is turned on lasts"),
        (["storm", "on", "--for", "soon"], "--for: should be a duration"),
        (["storm", "on", "--for", "31d"], "--for: should be between a moment and 30 days"),
        (["storm", "maybe"], "maybe"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    ran = run("signal", *arguments, "--state", str(tmp_path))
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err
