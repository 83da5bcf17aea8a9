"""A settings file that one of its servers could write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.assemble.source import SettingsFile
from tidegate.domain.errors import SettingsError
from tidegate.extensions import table
from tidegate.settings import load


def text(source: Path, *, writable: bool = True) -> str:
    mount = f"{{source: {source}, target: /work, writable: {str(writable).lower()}}}"
    return f"state: /var/lib/tidegate-of-a-test\nservers:\n  tool: {{image: 'tool:1', mounts: [{mount}]}}\n"


@pytest.mark.parametrize("mounted", ["the directory", "the one above", "the file", "by a link"])
def test_a_server_that_could_write_what_runs_here_is_refused(tmp_path: Path, mounted: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "link").symlink_to(project)
    path = project / "tidegate.yaml"
    source = {
        "the directory": project,
        "the one above": tmp_path,
        "the file": path,
        "by a link": tmp_path / "link",
    }
    path.write_text(text(source[mounted]))
    for read in (lambda: load(path, table), lambda: SettingsFile(path).parse(path.read_text())):
        with pytest.raises(
            SettingsError, match=r"servers\.tool\.mounts: .* may not be writable: this file is in it"
        ):
            read()


def test_neither_end_of_a_link_to_the_file_is_given_away(tmp_path: Path) -> None:
    real, shown = tmp_path / "real", tmp_path / "shown"
    real.mkdir()
    shown.mkdir()
    path = shown / "tidegate.yaml"
    path.symlink_to(real / "settings.yaml")
    for place in (real, shown):
        (real / "settings.yaml").write_text(text(place))
        with pytest.raises(SettingsError, match="may not be writable"):
            load(path, table)


def test_what_is_read_only_or_beside_the_file_is_a_servers_to_have(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.yaml"
    (tmp_path / "data").mkdir()
    for said in (text(tmp_path / "data"), text(tmp_path, writable=False)):
        path.write_text(said)
        assert load(path, table).servers[0].mounts
        assert SettingsFile(path).parse(said).servers
