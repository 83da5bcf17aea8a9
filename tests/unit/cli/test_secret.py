"""`tidegate secret`, over a real state directory."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.cli.conftest import Gateway, run, run_beside
from tidegate.cli.app import app
from tidegate.extensions.identity.local import local_principal
from tidegate.extensions.secrets.store import StoreSettings, store_in
from tidegate.extensions.secrets.store_key import draw_key, encode_key
from tidegate.state_directory import StateDirectory

CANARY = "hunter2-canary"


def keep(state: Path, name: str, value: str, *more: str) -> str:
    """Run `secret set` with a value on its standard input; give all that it wrote."""
    done = CliRunner().invoke(app, ["secret", "set", name, "--state", str(state), *more], input=value)
    assert done.exit_code == 0, done.output
    assert CANARY not in done.output
    return done.output


def test_a_value_comes_from_standard_input_and_is_never_shown(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert "kept app/token (version 1)" in keep(state, "app/token", CANARY + "\n")
    assert "kept app/token (version 2)" in keep(state, "app/token", CANARY)
    assert store_in(state).get("app/token") == CANARY
    listed = run("secret", "list", "--state", str(state))
    assert "app/token" in listed.out
    (fact,) = run("secret", "list", "--state", str(state), "--json").json()
    assert (fact["name"], fact["version"]) == ("app/token", 2)
    assert set(fact) == {"name", "version", "changed"}


def test_a_value_is_no_argument(tmp_path: Path) -> None:
    assert run("secret", "set", "app/token", CANARY, "--state", str(tmp_path)).status == 2
    assert not (tmp_path / "secrets").exists()


def test_a_secret_is_kept_while_a_gateway_has_the_directory(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path / "state"):
        keep(tmp_path / "state", "a", CANARY)
    assert store_in(tmp_path / "state").get("a") == CANARY


def changes(state: Path) -> list[dict[str, Any]]:
    """Give what the journal says was changed, and that it is whole."""
    assert run("audit", "verify", "--state", str(state)).status == 0
    files = sorted((state / "journal").glob("journal-*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
    return [each for each in lines if each["kind"] == "admin"]


def test_what_is_changed_while_no_gateway_runs_is_in_the_journal_by_name_alone(tmp_path: Path) -> None:
    keep(tmp_path, "app/token", CANARY)
    run("secret", "rotate-key", "--state", str(tmp_path))
    run("secret", "rm", "app/token", "--state", str(tmp_path))
    run("secret", "rm", "app/token", "--state", str(tmp_path))
    found = changes(tmp_path)
    assert [(each["data"]["event"], each["data"]["name"]) for each in found] == [
        ("secret_set", "app/token"),
        ("secret_rotate_key", ""),
        ("secret_rm", "app/token"),
    ]
    for each in found:
        assert (each["issuer"], each["subject"]) == ("local", local_principal().subject)
        assert (each["data"]["via"], each["data"]["peer"]) == ("command", f"uid:{os.getuid()}")
    assert all(CANARY.encode() not in file.read_bytes() for file in (tmp_path / "journal").iterdir())


def test_what_cannot_be_recorded_since_another_process_has_the_journal_is_said(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path / "state"):
        told = keep(tmp_path / "state", "a", CANARY)
    assert "tidegate: this is not recorded in the journal: another gateway" in told
    assert "kept a (version 1)" in told
    assert changes(tmp_path / "state") == []


async def test_a_gateway_that_runs_is_told_before_anything_is_changed(gateway: Gateway) -> None:
    StateDirectory.open(gateway.state).close()
    kept = await asyncio.to_thread(keep, gateway.state, "a", CANARY)
    assert "not recorded" not in kept
    await run_beside("secret", "rotate-key", "--state", str(gateway.state))
    gateway.records = False
    refused = await run_beside("secret", "rm", "a", "--state", str(gateway.state))
    assert (refused.status, refused.out) == (1, "")
    assert refused.err == "tidegate: nothing was done, since it cannot be recorded: its disk is full\n"
    assert store_in(gateway.state).get("a") == CANARY
    assert gateway.bodies == [
        ("changes", {"event": "secret_set", "name": "a"}),
        ("changes", {"event": "secret_rotate_key", "name": ""}),
        ("changes", {"event": "secret_rm", "name": "a"}),
    ]
    assert not list((gateway.state / "journal").iterdir())


def test_what_is_removed_is_gone(tmp_path: Path) -> None:
    keep(tmp_path, "a", CANARY)
    assert run("secret", "rm", "a", "--state", str(tmp_path)).out == "removed a\n"
    assert run("secret", "list", "--state", str(tmp_path)).out == "no secrets\n"
    again = run("secret", "rm", "a", "--state", str(tmp_path))
    assert (again.status, again.err) == (
        1,
        "tidegate: there is no secret a (tidegate secret list shows them)\n",
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("a b", "x", "a secret's name is"),
        ("a", "", "the value is empty"),
        ("a", "\n", "the value is empty"),
        ("a", "a\0b", "holds a NUL character"),
        ("a", "x" * 70000, "is larger than 65536 bytes"),
    ],
)
def test_what_can_be_no_secret_is_one_line(tmp_path: Path, name: str, value: str, said: str) -> None:
    done = CliRunner().invoke(app, ["secret", "set", name, "--state", str(tmp_path)], input=value)
    assert done.exit_code == 1
    assert said in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_the_key_is_changed_for_one_drawn_here_or_given(tmp_path: Path) -> None:
    state = tmp_path / "state"
    keep(state, "a", CANARY)
    before = (state / "secrets" / "key").read_bytes()
    assert run("secret", "rotate-key", "--state", str(state)).out == "sealed 1 secret with another key\n"
    assert (state / "secrets" / "key").read_bytes() != before
    assert store_in(state).get("a") == CANARY


def test_a_key_kept_elsewhere_is_named_by_the_settings(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(encode_key(draw_key()))
        (tmp_path / name).chmod(0o600)
    config = tmp_path / "tidegate.yaml"
    config.write_text(f"secrets: {{secret: {{key_file: {tmp_path / 'old'}}}}}\n")
    done = CliRunner().invoke(app, ["secret", "set", "a", "--config", str(config)], input=CANARY)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / ".tidegate" / "secrets" / "key").exists()
    refused = run("secret", "rotate-key", "--config", str(config))
    assert "give the new one in a file" in refused.err
    rotated = run("secret", "rotate-key", "--config", str(config), "--new-key", str(tmp_path / "new"))
    assert "the store now needs the key in" in rotated.err
    settings = StoreSettings(key_file=str(tmp_path / "new"))
    assert store_in(tmp_path / ".tidegate", settings).get("a") == CANARY


def test_a_check_says_what_it_did_not_look_at_and_looks_when_told(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.yaml"
    config.write_text("servers: {a: {command: [x], env: {A: '${secret:a}', B: '${secret:b}'}}}\n")
    assert (
        "2 secrets kept elsewhere and not looked at (--secrets does)" in run("check", "-c", str(config)).out
    )
    refused = run("check", "--secrets", "-c", str(config))
    assert refused.status == 2
    assert "servers.a.env.A: there is no secret a (tidegate secret set a)" in refused.err
    for name in ("a", "b"):
        keep(tmp_path / ".tidegate", name, CANARY)
    right = run("check", "--secrets", "-c", str(config))
    assert right.status == 0
    assert "not looked at" not in right.out
    assert CANARY not in right.out
