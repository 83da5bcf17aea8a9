"""Policies in the settings: a list of engines, each with a type; none of their files is a server's to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings.given import BASE
from tidegate.domain.errors import SettingsError
from tidegate.extensions import table
from tidegate.extensions.policies.cedar import CedarSettings
from tidegate.settings import Settings, load, parse

CEDAR = "policies: [{type: cedar, files: [policies/*.cedar], attributes: {region: text}}]\n"


def read(text: str) -> Settings:
    return parse(text, BASE, table, environment={})


def only_mistake(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(text)
    assert len(caught.value.problems) == 1, caught.value.problems
    return caught.value.problems[0].removeprefix("tidegate.yaml:")


def test_an_engine_has_its_own_settings_and_its_paths_are_relative_to_the_file() -> None:
    (found,) = read(CEDAR).policies
    assert found.type == "cedar"
    assert isinstance(found.settings, CedarSettings)
    assert found.settings.files == (BASE / "policies/*.cedar",)
    assert read(CEDAR) == read(CEDAR)


def test_there_may_be_several_and_none() -> None:
    both = "policies:\n- {type: cedar, files: [a]}\n- {type: cedar, files: [/b]}\n"
    assert [str(each.settings.files[0]) for each in read(both).policies] == [f"{BASE}/a", "/b"]  # type: ignore[attr-defined]
    assert read("servers: {}\n").policies == ()


def test_with_policies_nothing_is_allowed_by_default() -> None:
    assert all(not each.rules for each in read(CEDAR).endpoints)
    assert all(not each.rules for each in read("policies: []\n").endpoints)
    assert all(each.rules for each in read("servers: {}\n").endpoints)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("policies: 5\n", "1: policies: should be a list, is a number"),
        ("policies: [cedar]\n", "1: policies[0]: should be a mapping, is text"),
        ("policies:\n- files: [a]\n", "2: policies[0]: needs a `type` (known: "),
        (
            "policies:\n- {type: cedra}\n",
            "2: policies[0].type: is none of the known words; did you mean cedar? (known: ",
        ),
        ("policies:\n- {type: cedar}\n", "2: policies[0].files: is needed"),
        (
            "policies:\n- type: cedar\n  file: a\n  files: [b]\n",
            "3: policies[0].file: is no known key; did you mean files?",
        ),
        ("policies:\n- type: cedar\n  files: []\n", "3: policies[0].files: should not be empty"),
        (
            "policies:\n- {type: cedar, files: [a], attributes: {subject: text}}\n",
            "holds subject, which every user has",
        ),
        ("policies:\n- {type: cedar, files: [a], attributes: {limit: float}}\n", "none of the known words"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, told: str) -> None:
    assert told in only_mistake(text)


@pytest.mark.parametrize(
    ("files", "mount", "taken"),
    [
        ("policies/*.cedar", "policies", False),
        ("policies/*.cedar", "policies/a.cedar", False),
        ("policies/*.cedar", "policies/data", True),
        ("policies/*/a.cedar", "policies/data", False),
        ("policies/a.cedar", "policies", False),
        ("policies/a.cedar", "policies/b.cedar", True),
        ("policies/a.cedar", "data", True),
        ("link/*.cedar", "policies", False),
    ],
)
def test_no_server_may_write_what_decides_what_it_may_do(
    tmp_path: Path, files: str, mount: str, taken: bool
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "mine" / "policies").mkdir(parents=True)
    (tmp_path / "mine" / "link").symlink_to("policies")
    path = tmp_path / "etc" / "tidegate.yaml"
    source = tmp_path / "mine" / mount
    path.write_text(
        f"state: {tmp_path}/state\n"
        f"policies: [{{type: cedar, files: ['{tmp_path}/mine/{files}']}}]\n"
        f"servers: {{t: {{image: 't:1', mounts: [{{source: {source}, target: /w, writable: true}}]}}}}\n"
    )
    if taken:
        assert load(path, table).policies
        return
    with pytest.raises(SettingsError, match="policies are in it"):
        load(path, table)
