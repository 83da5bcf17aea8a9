"""The page on policies is true: its policies are right, and its cases come out as it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.unit.cli.conftest import run
from tests.unit.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "policies.md"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    settings, cases = blocks(PAGE, "yaml")
    (policies,) = blocks(PAGE, "cedar")
    (tools,) = blocks(PAGE, "json")
    (tmp_path / "policies").mkdir()
    for path, text in (
        ("tidegate.yaml", settings),
        ("policies/claims.cedar", policies),
        ("policies/claims.test.yaml", cases),
        ("policies/tools.json", tools),
    ):
        (tmp_path / path).write_text(text)
    return tmp_path


def test_every_case_of_the_page_comes_out_as_it_says(place: Path) -> None:
    ran = run("policy", "test", str(place / "policies/claims.test.yaml"))
    assert (ran.status, ran.out) == (0, "10 of 10 cases came out as expected\n"), ran.out


def test_no_case_of_the_page_comes_out_whatever_is_expected(place: Path) -> None:
    cases = yaml.safe_load((place / "policies/claims.test.yaml").read_text())
    for case in cases["cases"]:
        case["expect"] = "deny" if case["expect"] == "allow" else "allow"
        case.pop("rule", None)
    (place / "policies/other.yaml").write_text(json.dumps(cases))
    ran = run("policy", "test", str(place / "policies/other.yaml"))
    assert ran.status == 1
    assert ran.out.endswith("0 of 10 cases came out as expected\n")


def test_the_policies_of_the_page_are_right_with_its_settings_and_tools(place: Path) -> None:
    config = str(place / "tidegate.yaml")
    ran = run("policy", "check", "--config", config, "--tools", str(place / "policies/tools.json"), "--json")
    told = ran.json()
    assert told["ok"]
    assert told["notes"] == []
    assert [each.partition("#")[2] for each in told["policies"]] == [
        "read", "pay", "large", "letters", "files-of-the-region",
    ]  # fmt: skip


def test_the_types_of_the_page_are_those_of_the_schema(place: Path) -> None:
    config = str(place / "tidegate.yaml")
    ran = run("policy", "schema", "--config", config, "--tools", str(place / "policies/tools.json"))
    assert ran.status == 0
    for told in (
        'action "claims__pay" in [Action::"call"]',
        "amount: Long",
        "note?: String",
        "limit?: Long",
    ):
        assert told in ran.out.replace("__cedar::", "")
