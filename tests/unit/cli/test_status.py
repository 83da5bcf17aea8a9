"""`tidegate servers` and `tidegate logs` against a control socket."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.unit.cli.conftest import STATUS, Gateway, run, run_beside


async def test_servers_shows_state_reason_and_what_holds(gateway: Gateway) -> None:
    ran = await run_beside("servers", "--state", str(gateway.state))
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert "tidegate 0.1.0 at http://127.0.0.1:8080: ready, up" in lines[0]
    assert "/mcp: time, vessels (names: prefixed)" in lines[1]
    time = next(line for line in lines if line.startswith("time "))
    assert time.split() == ["time", "ready", "2", "docker,", "stdio", "principal", "package", "pypi:mcp-server-time", "2026.10.19"]  # fmt: skip
    workload = next(at for at, line in enumerate(lines) if line.startswith("tg-time-0a0a0a0a"))
    assert lines[workload].rstrip().endswith("  container")
    assert lines[workload + 1].strip() == "memory, cpus, pids"
    assert "image: x" not in ran.out


async def test_servers_shows_everything_that_holds_when_asked(gateway: Gateway) -> None:
    ran = await run_beside("servers", "--state", str(gateway.state), "--facts")
    lines = [line.strip() for line in ran.out.splitlines()]
    assert lines[-3:] == ["tg-time-0a0a0a0a  container", "memory, cpus, pids", "image: x"]


async def test_servers_breaks_no_word_in_a_terminal_of_80_columns(gateway: Gateway) -> None:
    sandbox = "container (runc), seccomp, no capabilities, read-only root"
    facts = {"sandbox": sandbox, "limits": "256 MiB memory, 1 cpu, 128 pids"}
    time, *others = STATUS["servers"]
    workloads = [{**time["workloads"][0], "facts": facts}]
    gateway.status = {**STATUS, "servers": [{**time, "workloads": workloads}, *others]}
    ran = await run_beside("servers", "--state", str(gateway.state), env={"COLUMNS": "80"})
    lines = ran.out.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert f"tg-time-0a0a0a0a  {sandbox}" in [line.rstrip() for line in lines]
    assert any(line.rstrip().endswith("package pypi:mcp-server-time") for line in lines)


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
