"""What a volume holds, counted while whoever writes to it means ill."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.extensions.runtimes.docker.walk import Walk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root sees into every directory of a volume")

MIB = 1 << 20


def held_below(place: str, piece: float = 60.0) -> int | None:
    walk = Walk(place)
    try:
        while not walk.on(piece):
            pass
        return walk.held
    finally:
        walk.close()


def deep(top: Path, name: str, count: int) -> int:
    """Make directories in one another, as a path would be too long to name them; give the last one, open."""
    at = os.open(top, os.O_RDONLY)
    for _ in range(count):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    return at


def test_files_count_with_what_they_take_on_the_disk_and_links_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(MIB))
    os.link(tmp_path / "one", tmp_path / "two")
    held = held_below(str(tmp_path))
    assert held is not None
    assert MIB <= held < MIB + 16384


def test_what_is_below_a_path_too_long_to_be_named_counts(tmp_path: Path) -> None:
    bottom = deep(tmp_path, "x" * 200, 30)
    with open(os.open("hidden", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=bottom), "wb") as file:
        file.write(bytes(MIB))
    os.close(bottom)
    assert (held_below(str(tmp_path)) or 0) >= MIB


def test_directories_without_end_are_more_than_any_size(tmp_path: Path) -> None:
    os.close(deep(tmp_path, "d", 300))
    assert (held_below(str(tmp_path)) or 0) > 1 << 50


def test_empty_files_are_not_free(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / str(number)).touch()
    assert (held_below(str(tmp_path)) or 0) >= 300 * 4096


def test_nothing_outside_counts_that_a_link_leads_to(tmp_path: Path) -> None:
    outside, volume = tmp_path / "outside", tmp_path / "volume"
    outside.mkdir()
    volume.mkdir()
    (outside / "large").write_bytes(bytes(MIB))
    (volume / "link").symlink_to(outside)
    (volume / "file").symlink_to(outside / "large")
    assert (held_below(str(volume)) or 0) < MIB
    (tmp_path / "instead").symlink_to(outside)
    assert held_below(str(tmp_path / "instead")) is None


def test_counting_leaves_nothing_open(tmp_path: Path) -> None:
    os.close(deep(tmp_path, "d", 300))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        held_below(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_counted_in_many_pieces_is_the_same(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"d{number % 7}").mkdir(exist_ok=True)
        (tmp_path / f"d{number % 7}" / str(number)).write_bytes(bytes(5000))
    assert held_below(str(tmp_path), 0.0) == held_below(str(tmp_path))


def test_a_walk_that_is_given_up_leaves_nothing_open(tmp_path: Path) -> None:
    os.close(deep(tmp_path, "d", 200))
    before = len(os.listdir("/proc/self/fd"))
    walk = Walk(str(tmp_path))
    assert not walk.on(0.0)
    walk.close()
    assert len(os.listdir("/proc/self/fd")) == before
