"""The settings file is seen to change, however it is saved, once it has come to rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tidegate.assemble.follow import follow
from tidegate.assemble.source import SettingsFile

LOOK = 0.005


class Seen:
    """How often a change was told of."""

    def __init__(self) -> None:
        self.count = 0
        self.fails = False
        self._told = asyncio.Event()

    async def __call__(self) -> None:
        self.count += 1
        self._told.set()
        if self.fails:
            raise RuntimeError("a fault of ours")

    async def once(self) -> None:
        """Wait for the next one."""
        async with asyncio.timeout(10):
            await self._told.wait()
        self._told.clear()


@asynccontextmanager
async def following(path: Path) -> AsyncGenerator[Seen]:
    """Follow a file."""
    file, seen = SettingsFile(path), Seen()
    task = asyncio.create_task(follow(file, file.stamp(), seen, LOOK, LOOK))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])


def in_place(path: Path) -> None:
    path.write_text("# changed in place\n")


def by_renaming(path: Path) -> None:
    fresh = path.with_name(".swap")
    fresh.write_text("# 1\n")
    fresh.rename(path)


def after_removing(path: Path) -> None:
    path.unlink()
    path.write_text("# written anew\n")


@pytest.mark.parametrize("save", [in_place, by_renaming, after_removing])
async def test_a_save_is_seen_whichever_way_it_is_made(tmp_path: Path, save: Callable[[Path], None]) -> None:
    path = tmp_path / "tidegate.yaml"
    path.write_text("# 0\n")
    async with following(path) as seen:
        save(path)
        await seen.once()
        assert seen.count == 1


async def test_a_link_that_is_turned_is_a_change(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tidegate.yaml").write_text("# the same text\n")
    (tmp_path / "data").symlink_to("one")
    path = tmp_path / "tidegate.yaml"
    path.symlink_to("data/tidegate.yaml")
    async with following(path) as seen:
        (tmp_path / "turned").symlink_to("two")
        (tmp_path / "turned").rename(tmp_path / "data")
        await seen.once()


async def test_a_fault_in_taking_a_change_does_not_end_the_following(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.yaml"
    path.write_text("# 0\n")
    async with following(path) as seen:
        seen.fails = True
        by_renaming(path)
        await seen.once()
        in_place(path)
        await seen.once()
        assert seen.count == 2


async def test_a_file_that_is_away_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.yaml"
    path.write_text("# 0\n")
    async with following(path) as seen:
        path.unlink()
        assert SettingsFile(path).stamp() is None
        path.write_text("# it is back\n")
        await seen.once()
