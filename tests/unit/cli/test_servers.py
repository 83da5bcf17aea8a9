"""`tidegate servers` and `tidegate logs` against a control socket."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from tests.unit.cli.conftest import STATUS, Gateway, run, run_beside


async def test_servers_is_one_table_of_state_replicas_calls_latency_restarts_memory_image_and_age(
    gateway: Gateway,
) -> None:
    ran = await run_beside("servers", "--state", str(gateway.state))
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert "tidegate 0.1.0 at http://127.0.0.1:8080: ready, up" in lines[0]
    assert "/mcp: time, vessels (names: prefixed)" in lines[1]
    head = next(line for line in lines if line.startswith("SERVER"))
    names = ["SERVER", "STATE", "REPLICAS", "IN FLIGHT", "P50 / P95", "RESTARTS", "MEMORY", "IMAGE", "AGE"]
    assert re.split(r" {2,}", head.strip()) == names
    time = re.split(r" {2,}", next(line for line in lines if line.startswith("time ")).strip())
    assert time[:8] == [
        "time",
        "ready",
        "2/2 (1-4)",
        "3 +1",
        "4.2 ms / 1.2 s",
        "2",
        "700 MiB",
        "time:1 feedfeedfeed",
    ]
    assert time[8].endswith(" d")
    assert "tg-time-0a0a0a0a" not in ran.out


async def test_servers_shows_workloads_and_all_that_holds_for_them_when_asked(gateway: Gateway) -> None:
    ran = await run_beside("servers", "--state", str(gateway.state), "--facts")
    lines = [line.strip() for line in ran.out.splitlines()]
    workload = re.split(r" {2,}", next(line for line in lines if line.startswith("tg-time-0a0a0a0a")))
    assert workload[:3] == ["tg-time-0a0a0a0a", "ready", "healthy"]
    assert workload[4:] == ["7", "1", "2", "350 MiB"]
    assert lines[-3:] == ["tg-time-0a0a0a0a  container", "memory, cpus, pids", "image: x"]


@pytest.mark.parametrize("columns", [40, 80, 90, 120])
async def test_servers_leaves_out_columns_rather_than_break_a_row(gateway: Gateway, columns: int) -> None:
    ran = await run_beside("servers", "--state", str(gateway.state), env={"COLUMNS": str(columns)})
    lines = ran.out.splitlines()
    assert max(len(line) for line in lines) <= columns
    table = lines[next(at for at, line in enumerate(lines) if line.startswith("SERVER")) :]
    assert [line.split()[0] for line in table[1:3]] == ["time", "vessels"]
    assert "STATE" in table[0]
    assert ("IMAGE" in table[0]) == (columns >= 120)


async def test_servers_looks_again_and_again_until_the_gateway_is_gone(gateway: Gateway) -> None:
    gateway.looks = 3
    ran = await run_beside("servers", "--state", str(gateway.state), "--watch", "--every", "0.2")
    assert ran.out.count("SERVER ") == 3
    assert (ran.status, ran.err) == (1, "tidegate: the gateway answered with HTTP status 503\n")


async def test_servers_in_json_is_a_line_each_time_with_watch(gateway: Gateway) -> None:
    gateway.looks = 2
    ran = await run_beside("servers", "--state", str(gateway.state), "-w", "--every", "0.2", "--json")
    assert [json.loads(line) for line in ran.out.splitlines()] == [STATUS, STATUS]


async def test_what_a_server_says_reaches_no_terminal_as_a_command(gateway: Gateway) -> None:
    ran = await run_beside("servers", "--state", str(gateway.state))
    assert "vessels: image \\x1b[31mnot found; tried again in 30 s" in ran.out
    assert "image [bold]x" in ran.out
    assert "\x1b" not in ran.out


async def test_servers_in_json_is_what_the_gateway_said(gateway: Gateway) -> None:
    assert (await run_beside("servers", "--state", str(gateway.state), "--json")).json() == STATUS


async def test_a_status_that_is_none_is_one_clear_line(gateway: Gateway) -> None:
    gateway.status = {"version": 3}
    ran = await run_beside("servers", "--state", str(gateway.state))
    assert ran.status == 1
    assert ran.err.startswith("tidegate: the gateway's status cannot be read: ")
    assert ran.err.count("\n") == 1


async def test_logs_gives_the_last_lines_without_commands_to_the_terminal(gateway: Gateway) -> None:
    ran = await run_beside("logs", "time", "-n", "2", "--state", str(gateway.state))
    assert (ran.status, ran.out) == (0, "tw\\x1b[2Jo\ndrei: é\n")


async def test_logs_follows_until_the_gateway_ends_it(gateway: Gateway) -> None:
    ran = await run_beside("logs", "time", "-f", "--state", str(gateway.state))
    assert ran.out.startswith("one\n")
    assert gateway.asked[0].query["follow"] == "1"


async def test_an_unknown_server_is_told_in_the_gateways_words(gateway: Gateway) -> None:
    ran = await run_beside("logs", "t/im e", "--state", str(gateway.state))
    assert ran.status == 1
    assert ran.err.startswith("tidegate: no server ")


def test_without_a_gateway_there_is_one_clear_line(tmp_path: Path) -> None:
    ran = run("servers", "--state", str(tmp_path))
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"tidegate: no gateway runs on {tmp_path} (start one with tidegate serve)\n"


def test_a_socket_that_a_crash_left_counts_as_no_gateway(short: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short / "control.sock"))
    assert "no gateway runs on" in run("servers", "--state", str(short)).err


def test_a_directory_with_a_long_path_is_told_like_any_other(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 40)
    for _ in range(2):
        ran = run("servers", "--state", str(state))
        assert (ran.status, ran.err) == (
            1,
            f"tidegate: no gateway runs on {state} (start one with tidegate serve)\n",
        )
        state.mkdir(exist_ok=True)


def test_the_state_directory_is_found_by_the_settings_file(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.yaml"
    config.write_text("state: here\nservers: {a: {url: 'http://h', headers: {A: '${env:NOT_SET}'}}}\n")
    assert f"no gateway runs on {tmp_path}/here" in run("servers", "--config", str(config)).err
