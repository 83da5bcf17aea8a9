"""What a server's processes use is read from their cgroup, of either version, or from themselves."""

from __future__ import annotations

import os
from pathlib import Path

from tidegate.extensions.runtimes.process.cgroups import Cgroups
from tidegate.extensions.runtimes.process.usage import freeze, measure, thaw

MIB = 1024 * 1024
NAME = "tg-a-1"


def group(base: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (base / NAME).mkdir(parents=True, exist_ok=True)
        (base / NAME / name).write_text(text)
    return base


def version_2(root: Path) -> Cgroups:
    files = {
        "memory.current": f"{50 * MIB}\n", "memory.stat": f"anon 1\ninactive_file {10 * MIB}\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n", "cgroup.freeze": "0\n",
    }  # fmt: skip
    return Cgroups(2, (("memory pids cpu", group(root / "all", files)),))


def version_1(root: Path) -> Cgroups:
    memory = {
        "memory.usage_in_bytes": f"{50 * MIB}\n",
        "memory.stat": f"inactive_file 1\ntotal_inactive_file {10 * MIB}\n",
    }
    return Cgroups(1, (("memory", group(root / "memory", memory)), ("cpu", group(root / "cpu", {"x": ""}))))


def test_a_group_of_version_2_says_all(tmp_path: Path) -> None:
    told = measure([os.getpid()], version_2(tmp_path), NAME)
    assert told is not None
    assert (told.memory, told.memory_peak, told.cpu_seconds, told.pids) == (40 * MIB, 40 * MIB, 2.5, 1)


def test_what_a_group_of_version_1_does_not_count_the_processes_say(tmp_path: Path) -> None:
    told, own = measure([os.getpid()], version_1(tmp_path), NAME), sum(os.times()[:4])
    assert told is not None
    assert told.memory == 40 * MIB
    assert 0 < told.cpu_seconds <= own + 1


def test_without_a_group_the_processes_say(tmp_path: Path) -> None:
    told = measure([os.getpid(), 2**22 - 1], None, NAME)
    assert told is not None
    assert told.pids == 1
    assert MIB < told.memory < 4096 * MIB


def test_of_what_has_ended_nothing_is_said() -> None:
    assert measure([2**22 - 1], None, NAME) is None


def test_a_group_of_version_2_is_frozen_as_a_whole(tmp_path: Path) -> None:
    groups = version_2(tmp_path)
    file = tmp_path / "all" / NAME / "cgroup.freeze"
    freeze(groups, NAME, lambda: set())
    assert file.read_text() == "1"
    thaw(groups, NAME, lambda: set())
    assert file.read_text() == "0"
