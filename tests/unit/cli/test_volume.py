"""`tidegate volume`: what is refused before an engine is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import run

SETTINGS = "servers: {notes: {image: 'notes:1', volumes: {data: {target: /data, size: 1MiB}}}}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config = tmp_path / "tidegate.yaml"
    config.write_text(SETTINGS)
    return config


def test_which_volumes_are_removed_is_always_said(config: Path) -> None:
    ran = run("volume", "rm", "--config", str(config))
    assert (ran.status, ran.out) == (2, "")
    assert "which volumes?" in ran.err


def test_a_backup_never_writes_over_a_file_unasked(config: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.tar").write_text("mine")
    ran = run("volume", "backup", "notes/data", str(tmp_path / "notes.tar"), "--config", str(config))
    assert ran.status == 2
    assert "--force writes over it" in ran.err
    assert (tmp_path / "notes.tar").read_text() == "mine"


def test_a_restore_needs_a_file_that_can_be_read(config: Path, tmp_path: Path) -> None:
    ran = run("volume", "restore", "notes/data", str(tmp_path / "none.tar"), "--config", str(config))
    assert (ran.status, ran.out) == (1, "")
    assert "none.tar cannot be opened: No such file or directory" in ran.err


def test_where_no_gateway_ever_ran_there_are_no_volumes_to_tell_of(config: Path) -> None:
    ran = run("volume", "list", "--config", str(config))
    assert ran.status == 1
    assert "no gateway was started" in ran.err
