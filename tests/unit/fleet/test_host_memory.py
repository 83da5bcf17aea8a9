"""How much memory there is: by the machine, and by the limits of the groups that we are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.fleet.host import Memory, read_memory, read_own

MIB = 1024 * 1024
MEMINFO = "MemTotal:       8388608 kB\nMemFree:         102400 kB\nMemAvailable:    4194304 kB\nHugePages_Total:       0\n"
V2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "30 23 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def laid(root: Path, files: dict[str, str]) -> Path:
    """Lay out what a kernel shows."""
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_machine_says_what_could_be_had(tmp_path: Path) -> None:
    assert read_memory(laid(tmp_path, {})) == Memory(8192 * MIB, 4096 * MIB)


def test_a_kernel_that_does_not_say_what_could_be_had_is_guessed_by_what_is_free(tmp_path: Path) -> None:
    old = "MemTotal: 8388608 kB\nMemFree: 102400 kB\nCached: 204800 kB\n"
    assert read_memory(laid(tmp_path, {"proc/meminfo": old})).free == 300 * MIB


def test_what_says_nothing_of_memory_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no memory"):
        read_memory(laid(tmp_path, {"proc/meminfo": "nothing here\n"}))


def test_a_limit_of_version_2_holds_on_whichever_level_it_is(tmp_path: Path) -> None:
    root = laid(
        tmp_path,
        {
            "proc/self/mountinfo": V2,
            "proc/self/cgroup": "0::/system.slice/tidegate.service\n",
            "sys/fs/cgroup/memory.stat": "",
            "sys/fs/cgroup/system.slice/memory.max": f"{2048 * MIB}\n",
            "sys/fs/cgroup/system.slice/memory.current": f"{1848 * MIB}\n",
            "sys/fs/cgroup/system.slice/memory.stat": f"anon 1\ninactive_file {300 * MIB}\n",
            "sys/fs/cgroup/system.slice/tidegate.service/memory.max": "max\n",
            "sys/fs/cgroup/system.slice/tidegate.service/memory.current": f"{100 * MIB}\n",
        },
    )
    assert read_own(root) == Memory(2048 * MIB, 500 * MIB)


def test_a_limit_of_version_1_counts_and_none_is_none(tmp_path: Path) -> None:
    limited = laid(
        tmp_path / "limited",
        {
            "proc/self/mountinfo": V1,
            "proc/self/cgroup": "4:memory:/docker/abc\n3:pids:/docker/abc\n",
            # In a container the group is mounted as the top: its path is not there.
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{512 * MIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{500 * MIB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {88 * MIB}\n",
        },
    )
    assert read_own(limited) == Memory(512 * MIB, 100 * MIB)
    (limited / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert read_own(limited) == read_memory(limited)


def test_this_machine_can_be_read() -> None:
    machine, own = read_memory(), read_own()
    assert 0 < machine.free <= machine.total
    assert own.free <= machine.free
    assert own.total <= machine.total
