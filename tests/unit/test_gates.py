"""The gates themselves: that they pass what is good and stop what is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def sizes(root: Path, place: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "sizes.py"), str(place)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def function_of(lines: int) -> str:
    return "def grown():\n" + "    x = 1\n" * (lines - 1)


def test_a_file_at_both_limits_passes_the_size_gate(root: Path, tmp_path: Path) -> None:
    (tmp_path / "fits.py").write_text(function_of(50) + "y = 2\n" * 450)
    done = sizes(root, tmp_path)
    assert (done.returncode, done.stdout) == (0, "1 files, 0 over their size\n")


def test_a_file_one_line_too_long_is_named_with_its_length(root: Path, tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("y = 2\n" * 501)
    done = sizes(root, tmp_path)
    assert done.returncode == 1
    assert "long.py: 501 lines, at most 500" in done.stdout


@pytest.mark.parametrize("head", ["def grown():", "async def grown():", "class A:\n  def grown():"])
def test_a_function_one_line_too_long_is_named_with_its_line(root: Path, tmp_path: Path, head: str) -> None:
    (tmp_path / "tall.py").write_text("\n" + head + "\n" + "    x = 1\n" * 50)
    done = sizes(root, tmp_path)
    assert done.returncode == 1
    assert f"tall.py:{2 + head.count(chr(10))}: grown has 51 lines, at most 50" in done.stdout


def test_a_place_that_is_missing_is_no_success(root: Path, tmp_path: Path) -> None:
    done = sizes(root, tmp_path / "nowhere")
    assert done.returncode != 0
    assert "no such file or directory" in done.stderr


def test_no_two_test_modules_share_a_name(root: Path) -> None:
    """A module in a directory that is no package is known by its bare name, and hides another such one."""
    bare = [
        path.stem for path in (root / "tests").rglob("*.py") if not (path.parent / "__init__.py").exists()
    ]
    bare = [name for name in bare if name != "conftest"]
    assert sorted({name for name in bare if bare.count(name) > 1}) == []


def test_every_module_says_what_it_is_for(root: Path) -> None:
    import ast

    silent = [
        str(path.relative_to(root))
        for place in ("src", "bench", "tests/servers")
        for path in sorted((root / place).rglob("*.py"))
        if ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_a_trial_nobody_wrote_is_refused_with_the_known_names(root: Path) -> None:
    command = [str(root / "scripts" / "trial"), "no-such-trial"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no trial named no-such-trial; there are:" in done.stderr


def test_the_command_of_ci_runs_the_tests_and_nothing_cleverer(root: Path) -> None:
    lines = (root / ".ci" / "run").read_text().splitlines()
    assert lines == ["#!/usr/bin/env bash", 'cd "$(dirname "$0")/.." && exec bash scripts/test']


@pytest.mark.parametrize("name", ["check", "test", "bench", "trial"])
def test_a_script_can_be_run_and_is_sound_shell(root: Path, name: str) -> None:
    path = root / "scripts" / name
    assert os.access(path, os.X_OK)
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
