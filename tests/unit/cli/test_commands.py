"""The commands as a whole: how they start, fail and end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Gateway, run, run_beside

HEAVY = ("aiodocker", "cryptography", "aiohttp", "yaml", "msgspec", "uvloop", "tidegate.assemble")


def python(code: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], input=stdin, capture_output=True, timeout=60
    )


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("version",)])
def test_help_comes_without_what_takes_long_to_import(arguments: tuple[str, ...]) -> None:
    code = "import sys; from tidegate.cli.app import run; s = run(sys.argv[1:]); print(*sys.modules, file=sys.stderr); sys.exit(s)"
    ran = python(code, *arguments)
    assert ran.returncode == 0
    loaded = set(ran.stderr.decode().split())
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("arguments", [("check", "--schema"), ("version",)])
def test_a_reader_that_goes_away_is_no_error(arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    code = "from tidegate.cli import main; main()"
    try:
        ran = subprocess.run(
            [sys.executable, "-c", code, *arguments], stdout=write, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(write)
    assert ran.stderr == b""


def test_an_interrupt_ends_a_command_without_a_traceback(tmp_path: Path) -> None:
    code = (
        "import signal, sys, os\n"
        "from tidegate.cli.app import run\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)\n"
        "signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))\n"
        "sys.exit(run(['call', 't', '-', '--state', sys.argv[1]]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.wait(timeout=60) != 0  # its standard input never ends
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_every_mistake_in_the_settings_is_a_line_and_status_2(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.yaml"
    config.write_text("lisen: 1\nservers: {a: {comand: [x]}}\n")
    for command in ("check", "serve", "clean"):
        ran = run(command, "--config", str(config))
        assert (ran.status, ran.out) == (2, "")
        lines = ran.err.splitlines()
        assert [line.split(": ")[1] for line in lines] == ["lisen", "servers.a.comand", "servers.a"]
        assert all(line.startswith(f"{config}:") for line in lines)
    ran = run("check", "--config", str(config), "--json")
    assert (ran.status, ran.json()["ok"], len(ran.json()["problems"])) == (2, False, 3)


def test_check_sums_up_what_is_right(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.yaml"
    config.write_text(
        "endpoints: {/mcp: {servers: [time]}}\n"
        "servers:\n  time: {package: 'pypi:t==1'}\n  far: {url: 'https://h/mcp?token=canary'}\n"
    )
    ran = run("check", "--config", str(config))
    assert ran.status == 0
    assert ran.out.splitlines()[0] == f"{config} is right: 2 servers, 1 endpoint"
    assert "package pypi:t 1" in ran.out
    assert "canary" not in ran.out
    facts = run("check", "--config", str(config), "--json").json()
    assert facts["ok"] is True
    assert [server["name"] for server in facts["servers"]] == ["time", "far"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("servrs",), "no such command 'servrs'. Did you mean 'servers', 'server', 'serve'? (see tidegate --help)"),
        (("key", "creat"), "no such command 'creat'. Did you mean 'create'? (see tidegate key --help)"),
        (("xyzzy",), "no such command 'xyzzy' (see tidegate --help)"),
        (("servers", "--cnfig", "x"), "no such option: --cnfig (Possible options: --config) (see tidegate servers --help)"),
        (("--bogus",), "no such option: --bogus (see tidegate --help)"),
    ],
)  # fmt: skip
def test_a_word_that_is_unknown_is_one_line_with_the_nearest_known_one(
    arguments: tuple[str, ...], told: str
) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out, ran.err) == (2, "", f"tidegate: {told}\n")


@pytest.mark.parametrize("arguments", [("logs",), ("logs", "x", "-n", "many"), ("serve", "--port", "65536")])
def test_a_value_that_is_missing_or_wrong_is_one_line_too(arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("tidegate: ")
    assert ran.err.endswith(f"(see tidegate {arguments[0]} --help)\n")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("key",)])
def test_a_command_that_lacks_its_second_word_shows_its_help(arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert ran.status == 2
    assert "Usage: " in ran.out + ran.err
    assert "tidegate: " not in ran.err


def test_serve_refuses_what_the_command_line_makes_unsafe(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.yaml"
    config.write_text("{listen: '127.0.0.1:1'}")
    ran = run("serve", "--config", str(config), "--listen", "0.0.0.0:80")
    assert ran.status == 2
    assert ran.err.startswith("command line: listen: is beyond loopback and needs auth other than local")


def test_without_a_settings_file_the_way_to_name_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("check", "servers", "serve", "clean"):
        ran = run(command)
        assert (ran.status, ran.err) == (
            2,
            "tidegate.yaml: there is no such file here (name one with --config)\n",
        )


async def test_clean_refuses_while_a_gateway_runs(gateway: Gateway, tmp_path: Path) -> None:
    config = tmp_path / "tidegate.yaml"
    config.write_text(f"state: {gateway.state}\n")
    ran = await run_beside("clean", "--config", str(config))
    assert ran.status == 1
    assert ran.err.startswith(f"tidegate: a gateway runs on {gateway.state}; stop it first")


def test_a_mistake_of_ours_is_a_line_too() -> None:
    code = (
        "import sys; from tidegate.cli.app import app, run\n"
        "@app.command('broken')\ndef broken() -> None:\n    raise RuntimeError('of ours')\n"
        "sys.exit(run(['broken']))"
    )
    ran = python(code)
    assert ran.returncode == 70
    assert ran.stderr.startswith(b"tidegate: internal error, please report it: RuntimeError: of ours")
    assert ran.stderr.count(b"\n") == 1


def test_version_is_told() -> None:
    assert run("version").out.startswith("tidegate ")
    assert set(run("version", "--json").json()) == {"tidegate", "python"}


def test_the_schema_is_json() -> None:
    assert json.loads(run("check", "--schema").out)["title"] == "tidegate settings"
