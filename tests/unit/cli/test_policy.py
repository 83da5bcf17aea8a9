"""`tidegate policy`, over files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec import Raw

from tests.unit.cli.conftest import run
from tidegate.domain.target import Kind
from tidegate.extensions import table
from tidegate.extensions.state.sqlite import SQLITE, SqliteSettings
from tidegate.gateway.definitions import Definition, Definitions, DefinitionStore, Listed
from tidegate.ports.extension import Surroundings
from tidegate.settings import load
from tidegate.state_directory import StateDirectory

ALLOW = '@id("all") permit(principal, action, resource);\n'
LIMIT = '@id("small") permit(principal, action == Action::"claims__pay", resource)\nwhen { context.arguments.amount < 5 };\n'


def cases(*lines: str, head: str = "policies: [p.cedar]") -> str:
    return "\n".join([head, "cases:", *lines]) + "\n"


ONE = "- {name: one, principal: {subject: a}, tool: claims__pay, arguments: {amount: 9}, expect: allow, rule: p.cedar#small}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "p.cedar").write_text(LIMIT)
    (tmp_path / "tidegate.yaml").write_text(
        "servers: {claims: {package: 'pypi:claims==1', runtime: process}}\npolicies: [{type: cedar, files: [p.cedar]}]\n"
    )
    return tmp_path


def test_a_case_that_comes_out_otherwise_is_told_with_its_line_and_why(place: Path) -> None:
    (place / "c.yaml").write_text(cases("", ONE))
    ran = run("policy", "test", str(place / "c.yaml"))
    assert ran.status == 1
    assert ran.out == (
        f"{place}/c.yaml:4: one: is denied by no policy, should be allowed by p.cedar#small: "
        "p.cedar#small (line 1) would allow it where context.arguments.amount (now 9) is less than 5\n"
        "0 of 1 cases came out as expected\n"
    )
    (told,) = run("policy", "test", "--json", str(place / "c.yaml")).json()
    assert (told["passed"], told["decision"]) == (False, "deny")
    assert told["reads"]["context.arguments.amount"] == "9"


def test_a_case_that_names_another_policy_than_decides_fails(place: Path) -> None:
    (place / "c.yaml").write_text(cases(ONE.replace("9", "1").replace("#small", "#other")))
    assert run("policy", "test", str(place / "c.yaml")).status == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (cases("- {name: one}"), "3: cases[0].principal: is needed"),
        (cases(ONE.replace("tool", "toll")), "3: cases[0].toll: is no known key; did you mean tool?"),
        (cases(ONE.replace("claims__pay", "pay")), "tool should be server__name"),
        (cases(ONE.replace("tool:", "prompt: a__b, tool:")), "should have one of tool, prompt"),
        (cases(ONE.replace("allow", "yes")), "3: cases[0].expect:"),
        ("policies: [p.cedar]\ncases: []\n", "2: cases: should not be empty"),
        ("cases: [", "should"),
        ("", "is empty"),
    ],
)
def test_a_mistake_in_a_file_of_cases_is_told(place: Path, text: str, told: str) -> None:
    (place / "c.yaml").write_text(text)
    ran = run("policy", "test", str(place / "c.yaml"))
    assert ran.status == 2
    assert told in ran.err or "[" in text


def test_cases_without_policies_are_decided_by_those_of_the_settings(place: Path) -> None:
    (place / "c.yaml").write_text(cases(ONE.replace("9", "1"), head="{}".replace("{}", "attributes:")))
    config = str(place / "tidegate.yaml")
    assert run("policy", "test", str(place / "c.yaml"), "--config", config).status == 0
    (place / "p.cedar").write_text(ALLOW)
    assert run("policy", "test", str(place / "c.yaml"), "--config", config).status == 1


def test_policies_that_are_wrong_are_told_with_their_lines(place: Path) -> None:
    (place / "p.cedar").write_text(ALLOW + "permit(principal;\n")
    ran = run("policy", "check", "--config", str(place / "tidegate.yaml"))
    assert (ran.status, ran.err) == (2, "p.cedar:2: unexpected token `;`\n")
    told = run("policy", "check", "--json", "--config", str(place / "tidegate.yaml")).json()
    assert told == {"ok": False, "problems": ["p.cedar:2: unexpected token `;`"]}


def test_files_are_checked_without_settings(place: Path) -> None:
    ran = run("policy", "check", str(place / "p.cedar"), "--config", str(place / "none.yaml"))
    assert (ran.status, ran.out) == (0, "1 policy is right\n")
    assert ran.err == "note: p.cedar:1: what it reads of arguments is not checked: too little is known\n"


async def test_what_the_gateway_last_saw_is_what_is_checked_against(place: Path) -> None:
    config = place / "tidegate.yaml"
    (spec,) = load(config, table).servers
    schema = b'{"type":"object","properties":{"amount":{"type":"string"}},"required":["amount"]}'
    tool = Definition("pay", {"name": Raw(b'"pay"'), "inputSchema": Raw(schema)})
    with StateDirectory.open(place / ".tidegate") as directory:
        async with SQLITE.open(SqliteSettings(), Surroundings(directory.path, directory.instance)) as state:
            await DefinitionStore(state).save(spec, Definitions({Kind.TOOL: Listed((tool,))}))
    ran = await asyncio.to_thread(run, "policy", "check", "--config", str(config))
    assert (ran.status, ran.err) == (2, "p.cedar:1: unexpected type: expected Long but saw String\n")
    ran = await asyncio.to_thread(run, "policy", "schema", "--config", str(config))
    assert "amount: __cedar::String" in ran.out


@pytest.mark.parametrize("text", ["", "[]", '{"tools": 5}', '{"tools": [{"name": "pay"}]}'])
def test_a_file_of_tools_that_is_none_is_refused(place: Path, text: str) -> None:
    (place / "t.json").write_text(text)
    ran = run("policy", "schema", "--config", str(place / "tidegate.yaml"), "--tools", str(place / "t.json"))
    assert ran.status == 2
    assert "t.json" in ran.err


def test_what_cedar_has_no_type_for_is_left_out_of_the_schema_and_said(place: Path) -> None:
    (place / "t.json").write_text(
        '{"tools": [{"name": "claims__pay", "inputSchema": {"properties": {"a": {}}, "type": "object"}}]}'
    )
    ran = run("policy", "schema", "--config", str(place / "tidegate.yaml"), "--tools", str(place / "t.json"))
    assert ran.status == 0
    assert "note: claims__pay: a is left out: its schema takes anything" in ran.err


def test_an_agent_that_is_not_there_fails_checks_and_cases_whatever_they_expect(tmp_path: Path) -> None:
    socket = tmp_path / "none.sock"
    (tmp_path / "tidegate.yaml").write_text(
        f"policies: [{{type: opa, url: 'unix://{socket}', path: authz}}]\n"
    )
    (tmp_path / "c.yaml").write_text(
        cases(ONE.replace("allow, rule: p.cedar#small", "deny"), head="attributes:")
    )
    for command in (("test", str(tmp_path / "c.yaml")), ("check",)):
        ran = run("policy", *command, "--config", str(tmp_path / "tidegate.yaml"))
        assert ran.status == 2, ran.out
        assert "it cannot be reached" in ran.err
        assert "opa" in ran.err
