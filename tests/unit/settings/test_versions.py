"""Versions of the settings: kept whole, few, and for their owner alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.domain.errors import SettingsError, StateError
from tidegate.settings.versions import KEPT, Versions, digest_of

FILE = Path("/etc/tidegate/tidegate.yaml")


def test_what_was_put_in_force_is_given_back_as_it_was(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    assert versions.active() is None
    assert versions.all() == []
    text = "servers:\n  a: {url: 'http://ä.example/'}\n"
    changes = {"servers added": ["a"]}
    added = versions.add(text, "file", FILE, changes, over="0123456789abcdef")
    assert Versions(tmp_path).active() == added
    assert (added.number, added.text, added.who, added.file) == (1, text, "file", str(FILE))
    assert (added.digest, added.changes, added.over) == (digest_of(text), changes, "0123456789abcdef")


def test_the_last_twenty_are_kept_and_numbers_are_not_given_twice(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    for number in range(KEPT + 5):
        versions.add(f"# {number}\n", "file", FILE, {})
    assert [each.number for each in versions.all()] == list(range(6, KEPT + 6))
    with pytest.raises(SettingsError, match="no version 5 of the settings \\(kept: 6 to 25\\)"):
        versions.get(5)
    assert versions.get(6).text == "# 5\n"


def test_only_its_owner_can_read_a_version(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.add("# a\n", "start", FILE, {})
    (file,) = versions.directory.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert versions.directory.stat().st_mode & 0o777 == 0o700


def test_a_version_that_did_not_come_into_force_is_dropped(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    first = versions.add("# a\n", "start", FILE, {})
    versions.drop(versions.add("# b\n", "file", FILE, {}).number)
    assert versions.active() == first


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"number": 1', b"\xff"])
def test_a_damaged_version_is_said_and_nothing_is_made_of_it(tmp_path: Path, damage: bytes) -> None:
    versions = Versions(tmp_path)
    versions.add("# a\n", "start", FILE, {})
    (file,) = versions.directory.iterdir()
    file.write_bytes(damage)
    with pytest.raises(StateError, match="is damaged"):
        versions.active()
    assert versions.add("# b\n", "file", FILE, {}).number == 2
    assert versions.active() is not None


def test_a_text_that_was_changed_in_its_file_is_damaged(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.add("# a\n", "start", FILE, {})
    (file,) = versions.directory.iterdir()
    file.write_text(file.read_text().replace("# a", "# b"))
    with pytest.raises(StateError, match="is damaged"):
        versions.get(1)


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "versions").write_text("not a directory")
    with pytest.raises(StateError, match="versions cannot be"):
        Versions(tmp_path).add("# a\n", "start", FILE, {})
