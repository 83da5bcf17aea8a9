"""What a command needs beside the host's programs, and what is refused before it is started."""

from pathlib import Path

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Command
from tidegate.extensions.runtimes.process.environments import for_command
from tidegate.extensions.runtimes.process.launcher.job import Bind


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_program_of_the_host_needs_nothing() -> None:
    assert for_command(Command(("sh", "-c", "true")), []).binds == ()
    assert for_command(Command(("sh", "-c", "true")), []).argv[1:] == ("-c", "true")


def test_a_program_elsewhere_is_bound_alone(tmp_path: Path) -> None:
    path = str(program(tmp_path / "bin" / "server"))
    (tmp_path / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    assert for_command(Command((path,)), []).binds == (Bind(path, path),)


def test_a_python_brings_its_library_and_a_virtual_environment_its_python(tmp_path: Path) -> None:
    base, venv = tmp_path / "python", tmp_path / "venv"
    program(base / "bin" / "python3")
    (base / "lib" / "python3.11").mkdir(parents=True)
    (base / "lib" / "python3.11" / "os.py").touch()
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(base / "bin" / "python3")
    (venv / "pyvenv.cfg").write_text(f"home = {base / 'bin'}\n")
    made = for_command(Command((str(venv / "bin" / "python"), "-m", "server")), [])
    assert made.binds == (Bind(str(venv), str(venv)), Bind(str(base), str(base)))


def test_a_program_in_a_mount_is_looked_for_there(tmp_path: Path) -> None:
    program(tmp_path / "tool")
    made = for_command(Command(("/data/tool",)), [Bind(str(tmp_path), "/data")])
    assert made.binds == ()
    with pytest.raises(RuntimeFailure, match="/data/other does not exist"):
        for_command(Command(("/data/other",)), [Bind(str(tmp_path), "/data")])


def test_a_program_that_is_not_there_or_not_to_be_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    for name, said in (
        ("no-such-program-anywhere", "not found"),
        ("bin/sh", "absolute path"),
        (str(tmp_path / "none"), "does not exist"),
        (str(tmp_path / "text"), "not executable"),
    ):
        with pytest.raises(RuntimeFailure, match=said):
            for_command(Command((name,)), [])
