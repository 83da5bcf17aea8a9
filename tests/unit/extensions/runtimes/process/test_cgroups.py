"""Where groups can be made, and what is written to them, on a tree of plain files."""

import os
from pathlib import Path

import pytest

from tidegate.domain.server import Limits
from tidegate.extensions.runtimes.process.cgroups import Cgroups, find

MIB = 1024 * 1024
LIMITS = Limits(memory=64 * MIB, cpus=0.5, pids=10)


def files(place: Path, **texts: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (place / name.replace("__", ".")).write_text(text)


def mounted(*lines: tuple[Path, str, str]) -> str:
    return "".join(f"30 23 0:26 / {place} rw - {kind} {kind} {options}\n" for place, kind, options in lines)


def test_version_2_gets_all_limits_in_one_group(tmp_path: Path) -> None:
    files(
        tmp_path / "w",
        memory__max="",
        pids__max="",
        cpu__max="",
        memory__swap__max="",
        cgroup__procs="7\n8\n",
    )
    made = Cgroups(2, (("memory pids cpu", tmp_path),))
    assert made.make("w", LIMITS) == [str(tmp_path / "w" / "cgroup.procs")]
    read = {name: (tmp_path / "w" / name).read_text() for name in ("memory.max", "pids.max", "cpu.max")}
    assert read == {"memory.max": str(64 * MIB), "pids.max": "12", "cpu.max": "50000 100000"}
    assert (tmp_path / "w" / "memory.swap.max").read_text() == "0"
    assert made.processes("w") == {7, 8}
    assert made.holds == ("memory", "pids", "cpu")


def test_a_limit_that_cannot_be_written_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    files(tmp_path / "w", memory__max="")
    with pytest.raises(FileNotFoundError):
        Cgroups(2, (("memory pids", tmp_path),)).make("w", LIMITS)


def test_version_1_gets_a_group_under_each_controller(tmp_path: Path) -> None:
    files(tmp_path / "memory" / "w", memory__limit_in_bytes="")
    files(tmp_path / "cpu" / "w", cpu__cfs_period_us="", cpu__cfs_quota_us="")
    made = Cgroups(1, (("memory", tmp_path / "memory"), ("cpu", tmp_path / "cpu")))
    assert len(made.make("w", LIMITS)) == 2
    assert (tmp_path / "memory" / "w" / "memory.limit_in_bytes").read_text() == str(64 * MIB)
    assert (tmp_path / "cpu" / "w" / "cpu.cfs_quota_us").read_text() == "50000"


def test_running_out_of_memory_is_known_from_either_version(tmp_path: Path) -> None:
    files(tmp_path / "w", memory__events="low 0\noom 1\noom_kill 1\n", memory__oom_control="oom_kill 0\n")
    assert Cgroups(2, (("memory", tmp_path),)).out_of_memory("w")
    assert not Cgroups(1, (("memory", tmp_path),)).out_of_memory("w")
    assert not Cgroups(2, (("memory", tmp_path),)).out_of_memory("unknown")


def test_a_group_that_was_delegated_is_used_with_the_gateway_moved_aside(tmp_path: Path) -> None:
    own = tmp_path / "app.slice" / "tidegate.service"
    files(own, cgroup__controllers="cpu memory pids\n", cgroup__subtree_control="", cgroup__procs="")
    files(own / "tidegate-gateway", cgroup__procs="")
    files(own / "ours", cgroup__subtree_control="")
    if os.geteuid() == 0:
        files(own.parent, cgroup__controllers="")  # root looks beside its own first, and finds nothing
        files(tmp_path, cgroup__controllers="cpu memory pids\n", cgroup__subtree_control="")
        files(tmp_path / "ours", cgroup__subtree_control="")
    mounts = mounted((tmp_path, "cgroup2", "rw"))
    found, how = find("ours", mounts, "0::/app.slice/tidegate.service\n")
    assert found is not None
    assert how == "cgroup v2"
    if os.geteuid() == 0:
        assert found.bases == (("memory pids cpu", tmp_path / "ours"),)
    else:
        assert found.bases == (("memory pids cpu", own / "ours"),)
        assert (own / "tidegate-gateway" / "cgroup.procs").read_text() == str(os.getpid())


def test_version_1_is_used_below_the_gateways_own_group(tmp_path: Path) -> None:
    for name in ("memory", "pids"):
        (tmp_path / name / "mine").mkdir(parents=True)
    mounts = mounted((tmp_path / "memory", "cgroup", "rw,memory"), (tmp_path / "pids", "cgroup", "rw,pids"))
    found, how = find("ours", mounts, "8:pids:/mine\n4:memory:/mine\n")
    assert found is not None
    assert how == "cgroup v1"
    assert found.bases == (("memory", tmp_path / "memory/mine/ours"), ("pids", tmp_path / "pids/mine/ours"))


def test_a_machine_without_cgroups_says_so() -> None:
    assert find("ours", "", "0::/\n") == (None, "no cgroup is mounted")
    gone = mounted((Path("/nowhere/memory"), "cgroup", "rw,memory"))
    found, why = find("ours", gone, "4:memory:/\n")
    assert found is None
    assert "memory: No such file" in why
