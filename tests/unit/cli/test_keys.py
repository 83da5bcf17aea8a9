"""`tidegate key` and `tidegate audit verify`, over a real state directory."""

from __future__ import annotations

import re
import stat
import time
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Ran, run
from tidegate.audit.journal import Journal
from tidegate.domain.record import RecordKind
from tidegate.state_directory import StateDirectory


def key(state: Path, *arguments: str) -> Ran:
    return run("key", arguments[0], "--state", str(state), *arguments[1:])


def test_a_key_is_shown_once_and_alone_on_standard_output(tmp_path: Path) -> None:
    ran = key(tmp_path / "state", "create", "--name", "ci", "--role", "admin", "--expires", "90d")
    assert ran.status == 0
    assert re.fullmatch(r"tg_[a-z2-7]{12}_[\w-]{49}\n", ran.out)
    assert "it is not shown again" in ran.err
    assert ran.out.strip() not in ran.err
    listed = key(tmp_path / "state", "ls")
    assert ran.out.strip().split("_")[2] not in listed.out
    assert "ci" in listed.out
    assert "admin" in listed.out
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_key_that_was_revoked_is_listed_as_such(tmp_path: Path) -> None:
    made = key(tmp_path, "create", "--name", "ci", "--json").json()
    assert (made["name"], made["roles"], made["tenant"], made["expires"]) == ("ci", ["user"], "default", None)
    assert made["key"].startswith(f"tg_{made['id']}_")
    assert key(tmp_path, "revoke", made["id"]).out == f"revoked {made['id']} of ci\n"
    (listed,) = key(tmp_path, "ls", "--json").json()
    assert listed["state"] == "revoked"
    assert "key" not in listed


def test_keys_are_made_while_a_gateway_has_the_directory(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path / "state"):
        assert key(tmp_path / "state", "create", "--expires", "1h").status == 0
        (listed,) = key(tmp_path / "state", "ls", "--json").json()
    assert listed["expires"] == pytest.approx(time.time() + 3600, abs=60)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("create", "--name", "a b"), 2, "'a b' is no name: "),
        (("create", "--name", "a", "--expires", "soon"), 2, "--expires: should be a duration"),
        (("create", "--name", "a", "--expires", "0s"), 2, "--expires: should be between"),
        (("revoke", "tg_canary"), 1, "tidegate: there is no key of that id"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    StateDirectory.open(tmp_path / "state").close()
    ran = key(tmp_path / "state", *arguments)
    assert (ran.status, ran.out) == (status, "")
    assert ran.err.startswith(said)
    assert ran.err.count("\n") == 1
    assert "canary" not in ran.err


def test_keys_of_a_directory_that_is_not_there_are_not_made_up(tmp_path: Path) -> None:
    ran = key(tmp_path / "none", "ls")
    assert ran.status == 1
    assert ran.err.startswith(f"tidegate: there is no state directory {tmp_path}/none")
    assert not (tmp_path / "none").exists()


def journal(state: Path) -> Path:
    """Keep a journal of three events and give its file."""
    with StateDirectory.open(state) as directory:
        kept = Journal.open(directory.journal, key=directory.key("journal"), writer="tests", clock=time.time)
        for number in range(3):
            kept.event(RecordKind.GATEWAY, {"event": "started", "number": number})
        kept.close()
        (file,) = directory.journal.glob("*.jsonl")
    return file


def test_a_journal_as_it_was_written_is_said_to_be(tmp_path: Path) -> None:
    journal(tmp_path / "state")
    ran = run("audit", "verify", "--state", str(tmp_path / "state"))
    assert ran.status == 0
    assert ran.out.endswith("everything is as it was written\n")
    assert "seals right" in ran.out
    facts = run("audit", "verify", str(tmp_path / "state" / "journal"), "--json").json()
    assert (facts["ok"], facts["fault_count"]) == (True, 0)
    assert facts["records"] >= 3


def test_a_journal_that_was_changed_is_located(tmp_path: Path) -> None:
    file = journal(tmp_path / "state")
    file.write_bytes(file.read_bytes().replace(b'"number":1', b'"number":7'))
    ran = run("audit", "verify", "--state", str(tmp_path / "state"))
    assert ran.status == 1
    assert f"FAULT {file.name}:" in ran.out
    facts = run("audit", "verify", "--state", str(tmp_path / "state"), "--json")
    assert (facts.status, facts.json()["ok"]) == (1, False)
    assert facts.json()["faults"][0]["file"] == file.name


def test_a_journal_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    ran = run("audit", "verify", str(tmp_path / "none"))
    assert (ran.status, ran.err) == (1, f"tidegate: there is no journal {tmp_path}/none\n")


def test_keys_of_gateways_that_share_a_directory_are_in_it(tmp_path: Path) -> None:
    configs = [tmp_path / "a" / "tidegate.yaml", tmp_path / "b" / "tidegate.yaml"]
    for config in configs:
        config.parent.mkdir()
        config.write_text("auth: {type: keys}\nshared: ../both\n")
    made = run("key", "create", "--name", "ci", "--json", "--config", str(configs[0])).json()
    (listed,) = run("key", "ls", "--json", "--config", str(configs[1])).json()
    assert listed["id"] == made["id"]
    assert run("key", "revoke", made["id"], "--config", str(configs[1])).status == 0
    assert not (tmp_path / "a" / ".tidegate").exists()


def test_a_key_of_a_tenant_that_the_settings_do_not_declare_is_not_made(tmp_path: Path) -> None:
    settings = tmp_path / "tidegate.yaml"
    settings.write_text("tenants: {marine: {roles: {captain: {}}}}\n")
    refused = run("key", "create", "--config", str(settings), "--name", "ann", "--tenant", "marin")
    assert refused.status != 0
    assert "--tenant: the settings declare no tenant marin (default, marine)" in refused.err
    made = run(
        "key", "create", "--config", str(settings), "--name", "ann", "--tenant", "marine", "--role", "captain",
        "--json",
    )  # fmt: skip
    assert (made.json()["tenant"], made.json()["roles"]) == ("marine", ["captain"])
    assert "declare no role" not in made.err
