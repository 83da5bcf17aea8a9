"""The quickstart's command line: what it takes, and that wrong words install nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from examples.marine.quickstart.options import parse

ROOT = Path(__file__).resolve().parents[3]


def quickstart(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [place / "scripts" / "quickstart", *words],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing has been installed."""
    for part in ("scripts", "examples", "locks"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_options_are_taken() -> None:
    options, only = parse(["--once", "--port", "9000", "--runtime", "process", "--yes"])
    assert (options.once, options.port, options.runtime, options.yes, only) == (
        True,
        9000,
        "process",
        True,
        False,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "0"], "'0' is no port"),
        (["--port", "80a"], "'80a' is no port"),
        (["--port"], "expected one argument"),
        (["--runtime", "podman"], "'podman'"),
        (["--onc"], "unrecognized arguments: --onc"),
        (["now"], "unrecognized arguments: now"),
    ],
)
def test_wrong_words_are_told_with_status_2_and_nothing_is_installed(
    checkout: Path, words: list[str], said: str
) -> None:
    done = quickstart(checkout, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (checkout / ".venv").exists()


def test_help_is_shown_with_status_0_and_nothing_is_installed(checkout: Path) -> None:
    done = quickstart(checkout, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("--once", "--port", "--runtime", "--yes"):
        assert option in done.stdout
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_missing_is_named(checkout: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "dirname"):
        (programs / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [checkout / "scripts" / "quickstart"],
        capture_output=True,
        text=True,
        env={"PATH": str(programs)},
        timeout=60,
    )
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr


def test_a_python_without_venv_is_told_what_to_install(checkout: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "dirname", "sha256sum", "cut", "cat", "env"):
        (programs / name).symlink_to(str(shutil.which(name)))
    # A Python as Debian ships it without python3-venv: no module ensurepip.
    python = programs / "python3"
    python.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        [checkout / "scripts" / "quickstart"],
        capture_output=True,
        text=True,
        env={"PATH": str(programs)},
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("apt-get install python3-venv")
    assert not (checkout / ".venv").exists()
