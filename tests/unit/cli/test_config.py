"""`tidegate config`, over versions that are kept."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli.conftest import run
from tidegate.settings.versions import Versions
from tidegate.state_directory import StateDirectory


def test_the_history_shows_names_as_they_are_and_obeys_none(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path / "state") as directory:
        who, changes = "[bold]ops[/] \x1b[2J\u202e (api)", {"added": ["[/x] \x1b[31mone"]}
        Versions(directory.path).add("servers: {}\n", who, tmp_path / "tidegate.yaml", changes)
    ran = run("config", "history", "--state", str(tmp_path / "state"))
    assert ran.status == 0
    assert "[bold]ops[/] \\x1b[2J\\u202e (api)" in ran.out
    assert "added: [/x] \\x1b[31mone" in ran.out
    assert "\x1b" not in ran.out
    (told,) = run("config", "history", "--json", "--state", str(tmp_path / "state")).json()
    assert told["by"] == who
