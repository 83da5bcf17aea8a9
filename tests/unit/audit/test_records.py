"""The records of one tenant: its principals' and its servers', and none of another's."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import run

from tidegate.audit.journal import Journal
from tidegate.domain.principal import Principal
from tidegate.domain.record import RecordKind
from tidegate.state_directory import StateDirectory

ANN, BOB, OPS = (
    Principal(tenant, "key", name)
    for tenant, name in (("marine", "ann"), ("motor", "bob"), ("default", "ops"))
)
SETTINGS = """
servers: {claims: {package: 'pypi:t==1'}, cars: {package: 'pypi:t==1'}}
tenants: {marine: {servers: ["cl*"]}, motor: {servers: [cars]}}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A settings file, and a journal of two tenants beside it."""
    settings = tmp_path / "tidegate.yaml"
    settings.write_text(SETTINGS)
    with StateDirectory.open(tmp_path / ".tidegate") as directory:
        journal = Journal.open(
            directory.journal, key=directory.key("journal"), writer="tests", clock=time.time
        )
        for who in (ANN, BOB):
            journal.refused(
                "denied",
                who,
                {"call": f"call-{who.subject}", "rule": f"tenants.{who.tenant}.roles.x deny[0]"},
            )
        denied = {
            "call": "c",
            "name": "x",
            "target": {"server": "cars"},
            "rule": "tenants.motor",
            "because": "of motor",
        }
        journal.refused("invalid_params", ANN, denied)
        for server in ("claims", "cars", "common"):
            journal.event(RecordKind.WORKLOAD, {"event": "started", "server": server})
            journal.changed(OPS, {"event": "restart", "server": server})
        for tenant in ("marine", "motor"):
            journal.event(RecordKind.KEY, {"event": "created", "tenant": tenant})
        journal.changed(BOB, {"event": "restart", "server": "cars"})
        journal.close()
    return settings


def test_records_are_those_of_the_tenants_principals_and_servers(settings: Path) -> None:
    ran = run("audit", "records", "--config", str(settings), "--tenant", "marine")
    assert ran.status == 0, ran.err
    found: list[Any] = [json.loads(line) for line in ran.out.splitlines()]
    assert [(each["kind"], each["tenant"]) for each in found] == [
        ("refused", "marine"), ("refused", "marine"), ("workload", ""), ("admin", "default"), ("key", ""),
    ]  # fmt: skip
    assert (found[0]["data"]["rule"], "hash" in found[0]) == ("tenants.marine.roles.x deny[0]", False)
    assert (found[1]["data"], "hash" in found[1]) == ({"call": "c", "name": "x"}, False)
    for word in ("cars", "common", "motor", "bob"):
        assert word not in ran.out
    unknown = run("audit", "records", "--config", str(settings), "--tenant", "marin")
    assert unknown.status != 0
    assert "declares no tenant marin" in unknown.err


def test_records_are_found_by_who_and_how_and_by_their_call(settings: Path) -> None:
    whole = run("audit", "records", "--config", str(settings), "--tenant", "marine").out.splitlines()
    (one, two) = run(
        "audit", "find", "--config", str(settings), "--tenant", "marine", "--decision", "refused", "--json"
    ).out.splitlines()
    assert (one, two) == (whole[1], whole[0]), "the newest first, and the same words"
    told = run("audit", "find", "--config", str(settings), "--principal", "bob", "--since", "1h")
    assert told.status == 0, told.err
    assert [line.split()[2:5] for line in told.out.splitlines()[1:]] == [
        ["admin", "bob", "(motor)"], ["refused", "bob", "(motor)"],
    ]  # fmt: skip
    shown = run("audit", "show", "call-ann", "--config", str(settings))
    assert [json.loads(line)["subject"] for line in shown.out.splitlines()] == ["ann"]
    nothing = run("audit", "show", "call-nobody", "--config", str(settings))
    assert nothing.status != 0
    assert "no call call-nobody" in nothing.err
