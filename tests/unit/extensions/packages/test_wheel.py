"""A wheel that would write beside its environment is refused before any installer sees it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.packages import python
from tidegate.extensions.packages.wheel import check_wheel

POINTS = "evil-1.0.dist-info/entry_points.txt"


def wheel(place: Path, **files: str) -> Path:
    """Write a wheel of these files."""
    made = place / "evil-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text)
    return made


def points(*lines: str, section: str = "[console_scripts]") -> dict[str, str]:
    return {POINTS: "\n".join([section, *lines])}


def test_an_ordinary_wheel_is_taken(tmp_path: Path) -> None:
    fine = points(
        "evil = evil:main", "f2py-3.11=evil:main", "# ../x = y", "[mime.types]", "text/html = evil:html"
    )
    check_wheel(wheel(tmp_path, **fine, **{"evil/__init__.py": "", "evil/a..b/..c": ""}))


@pytest.mark.parametrize(
    "files",
    [
        points("evil = evil:main", "../../../root/.bashrc = evil:main"),
        points("/etc/cron.d/x = evil:main"),
        points("evil = evil:main", "  ../x = evil:main"),
        points("a\\..\\x = evil:main"),
        points(".. = evil:main"),
        points("../x", section="[ gui_scripts ]"),
        points("evil = evil:main\x0b../x = evil:main"),
        {"other.dist-info/entry_points.txt": "[[console_scripts]]\n../x = evil:main"},
        {"../x": ""},
        {"evil-1.0.data/scripts/../../../x": ""},
        {"/etc/x": ""},
        {"evil\\..\\x": ""},
    ],
)
def test_a_program_or_file_with_a_way_out_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    made = wheel(tmp_path, **files)
    with pytest.raises(RuntimeFailure, match=r"program that is a path|outside of itself"):
        check_wheel(made)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    made = tmp_path / "evil-1.0-py3-none-any.whl"
    made.write_bytes(b"no archive")
    with pytest.raises(RuntimeFailure, match="cannot be read"):
        check_wheel(made)


def test_a_bomb_is_refused_by_what_it_says_of_itself(tmp_path: Path) -> None:
    made = tmp_path / "evil-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("x", b"")
        opened.infolist()[0].file_size = 3 * 1024**3
        opened.writestr("y", b"")
        opened.infolist()[1].file_size = 3 * 1024**3
    with pytest.raises(RuntimeFailure, match="too large"):
        check_wheel(made)


def test_nothing_is_locked_or_found_locked_with_such_a_wheel(tmp_path: Path) -> None:
    (tmp_path / python.WHEELS).mkdir()
    wheel(tmp_path / python.WHEELS, **points("../x = evil:main"))
    with pytest.raises(RuntimeFailure):
        python.write_lock(tmp_path)
    assert not python.holds(tmp_path)
