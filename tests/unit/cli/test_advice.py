"""`tidegate servers --advice` and `--apply` against a control socket."""

from __future__ import annotations

import re

from tests.unit.cli.conftest import ADVICE, Gateway, run_beside


async def test_advice_is_a_table_of_what_was_declared_seen_and_recommended(gateway: Gateway) -> None:
    ran = await run_beside("servers", "--advice", "--state", str(gateway.state))
    assert ran.status == 0
    rows = [re.split(r" {2,}", line.strip()) for line in ran.out.splitlines()]
    heads = ["SERVER", "MEMORY", "P95", "HIGHEST", "ADVISED", "CPUS", "P95", "ADVISED", "KILLED", "LOOKS"]
    assert rows[0] == heads
    assert rows[1] == ["time", "256MiB", "40MiB", "60MiB", "384MiB", "1", "0.20", "0.25", "1", "40"]
    assert rows[2][:2] == ["vessels", "256MiB"]
    assert rows[2][4] == "-"
    assert "vessels: looked at 3 times, 20 are needed" in ran.out


async def test_advice_in_json_is_what_the_gateway_said(gateway: Gateway) -> None:
    ran = await run_beside("servers", "--advice", "--json", "--state", str(gateway.state))
    assert ran.json() == {"advice": ADVICE}


async def test_applying_says_of_each_workload_whether_it_has_it_and_what_the_settings_need(
    gateway: Gateway,
) -> None:
    ran = await run_beside("servers", "--apply", "time", "--state", str(gateway.state))
    assert ran.status == 0
    assert ran.out.splitlines() == [
        "tg-time-1: has it now",
        "tg-time-2: runtime process cannot change it: by rollout",
    ]
    assert "limits: {memory: 384MiB, cpus: 0.25}" in ran.err


async def test_where_nothing_is_recommended_it_is_one_clear_line(gateway: Gateway) -> None:
    ran = await run_beside("servers", "--apply", "vessels", "--state", str(gateway.state))
    assert ran.status == 1
    assert ran.err.splitlines() == ["tidegate: nothing else is recommended for server vessels"]
