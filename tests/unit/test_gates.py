"""The gates themselves: that they pass what is good and stop what is not."""

from __future__ import annotations

import os
import re
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


@pytest.mark.parametrize("name", ["check", "test", "lanes", "bench", "trial"])
def test_a_script_can_be_run_and_is_sound_shell(root: Path, name: str) -> None:
    path = root / "scripts" / name
    assert os.access(path, os.X_OK)
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("script", "named"), [("test", "runtimes"), ("check", "half"), ("check", "real")])
def test_what_a_lane_names_is_there_so_that_the_other_leaves_out_nothing_else(
    root: Path, script: str, named: str
) -> None:
    [words] = re.findall(rf"^ *{named}=\((.*?)\)", (root / "scripts" / script).read_text(), re.MULTILINE)
    command = ["bash", "-c", f'printf "%s\\n" {words}']
    paths = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert len(paths) >= 2
    assert [path for path in paths if not (root / path).exists()] == []


LANE = """
import signal, time
from pathlib import Path

def test_in_a_lane():
    here = Path(__file__)
    here.with_suffix(".began").touch()
    deadline = time.monotonic() + 20
    while len(list(here.parent.glob("*.began"))) < 3:
        assert time.monotonic() < deadline, "another lane did not begin"
        time.sleep(0.02)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert here.stem != "test_bad", "bad as asked for"
"""


def lanes(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(root / "scripts" / "lanes"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_lanes_run_at_once_and_are_shown_whole_in_order_and_the_worst_status_counts(
    root: Path, tmp_path: Path
) -> None:
    names = ("good", "bad", "fine")
    words = ["-q", "-c", str(root / "pyproject.toml")]
    for name in names:
        path = tmp_path / f"test_{name}.py"
        path.write_text(LANE)
        words += ["--", name, str(path)]
    done = lanes(root, *words)
    assert (done.returncode, done.stderr) == (1, "")
    whole, _, ends = done.stdout.partition("\n== lanes\n")
    assert tuple(re.findall(r"== lane (\w+)", whole)) == names
    said = whole.partition("== lane bad\n")[2].partition("== lane")[0]
    asked = "AssertionError: bad as asked for\n"
    assert 0 < said.count(asked) == whole.count(asked)
    expected = ("good: .* 0, 1 passed", "bad: .* 1, 1 failed", "fine: .* 0, 1 passed")
    for line, pattern in zip(ends.splitlines(), expected, strict=True):
        assert re.fullmatch(rf"   {pattern} in [\d.]+s", line), line


def test_no_lanes_are_a_mistake_and_no_success(root: Path) -> None:
    done = lanes(root, "-q")
    assert done.returncode == 2
    assert "usage: scripts/lanes" in done.stderr
