"""From a ServerSpec to a job and bubblewrap's argv: what is not declared is not there."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Command, Companion, Limits, Mount, Network, Secret, ServerSpec, Volume
from tidegate.extensions.runtimes.process.bwrap import bwrap_argv
from tidegate.extensions.runtimes.process.cgroups import Cgroups
from tidegate.extensions.runtimes.process.environments import Environment
from tidegate.extensions.runtimes.process.host import User
from tidegate.extensions.runtimes.process.ladder import Rung
from tidegate.extensions.runtimes.process.launcher.job import Bind, Job, read_job, write_job
from tidegate.extensions.runtimes.process.plan import Ground, Plan, plan, user_of

USER = User(65532, 65532)
SPEC = ServerSpec("local", Command(("/usr/bin/python3", "-V")), "process", env={"KEY": Secret("s3cret")})
RAN = Environment(("/usr/bin/python3", "-V"))


def ground(tmp_path: Path, rung: Rung = Rung.BUBBLEWRAP, **changes: object) -> Ground:
    held = Cgroups(2, (("memory pids cpu", tmp_path),))
    return replace(Ground(rung, USER, held, "cgroup v2", tmp_path / "state", tmp_path / "made"), **changes)  # type: ignore[arg-type]


def planned(tmp_path: Path, spec: ServerSpec = SPEC, **changes: object) -> Plan:
    return plan(spec, RAN, ground(tmp_path, **changes), tmp_path / "home")  # type: ignore[arg-type]


def pairs(argv: list[str], option: str) -> dict[str, str]:
    """Give what stands behind each `option` as target to source."""
    return {argv[at + 2]: argv[at + 1] for at, word in enumerate(argv) if word == option}


def test_bubblewrap_unshares_everything_and_drops_every_right(tmp_path: Path) -> None:
    argv = bwrap_argv("/usr/bin/bwrap", planned(tmp_path).job, staged=False)
    assert {"--unshare-all", "--die-with-parent", "--new-session"} <= set(argv)
    assert "--share-net" not in argv
    assert argv[argv.index("--cap-drop") + 1] == "ALL"
    assert argv[argv.index("--") + 1 :] == ["/usr/bin/python3", "-V"]
    at = [number for number, word in enumerate(argv) if word == "--remount-ro"]
    assert [argv[number + 1] for number in at] == ["/dev", "/"]
    assert at[-1] > max(number for number, word in enumerate(argv) if word == "--ro-bind")


def test_only_programs_and_a_made_up_etc_are_bound(tmp_path: Path) -> None:
    argv = bwrap_argv("bwrap", planned(tmp_path).job, staged=False)
    targets = set(pairs(argv, "--ro-bind"))
    assert {"/usr", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf"} <= targets
    extra = {
        target for target in targets if not target.startswith(("/usr", "/lib", "/bin", "/sbin", "/etc/"))
    }
    assert extra == set()
    assert not {"/etc", "/etc/shadow", "/etc/ssl/certs", "/etc/resolv.conf"} & targets
    assert pairs(argv, "--bind") == {}


def test_an_open_network_brings_names_and_authorities(tmp_path: Path) -> None:
    spec = replace(SPEC, network=Network.OPEN)
    argv = bwrap_argv("bwrap", planned(tmp_path, spec).job, staged=False)
    assert "--share-net" in argv
    assert ("/etc/resolv.conf" in pairs(argv, "--ro-bind")) == os.path.exists("/etc/resolv.conf")


def test_staged_binds_come_from_the_stage_in_their_order(tmp_path: Path) -> None:
    job = replace(planned(tmp_path).job, binds=[Bind("/usr", "/usr"), Bind("/srv/x", "/data", True)])
    argv = bwrap_argv("bwrap", job, staged=True)
    assert pairs(argv, "--ro-bind") == {"/usr": "/tmp/0"}
    assert pairs(argv, "--bind") == {"/data": "/tmp/1"}


def test_no_value_of_a_variable_is_in_the_argv(tmp_path: Path) -> None:
    job = planned(tmp_path).job
    assert job.env["KEY"] == "s3cret"
    assert "s3cret" not in " ".join(bwrap_argv("bwrap", job, staged=False))


def test_the_environment_is_a_few_plain_variables_and_the_declared(tmp_path: Path) -> None:
    os_only = {"PATH", "HOME", "TMPDIR", "LANG"}
    assert set(planned(tmp_path).job.env) == os_only | {"KEY"}
    assert planned(tmp_path, replace(SPEC, env={"HOME": "/data"})).job.env["HOME"] == "/data"


def test_limits_by_cgroup_need_no_rlimits(tmp_path: Path) -> None:
    made = planned(tmp_path)
    assert set(made.job.rlimits) == {"RLIMIT_CORE", "RLIMIT_NOFILE"}
    assert made.facts["limits"] == "memory 256 MiB, 128 processes, 1 cpu by cgroup v2"
    assert "cgroup" not in made.facts


def test_without_a_cgroup_the_facts_say_what_does_not_hold(tmp_path: Path) -> None:
    made = planned(tmp_path, cgroups=None, limits="memory: Permission denied")
    assert made.job.rlimits["RLIMIT_DATA"] == Limits().memory
    assert "for each process by rlimit" in made.facts["limits"]
    assert "cpu not limited" in made.facts["limits"]
    assert made.facts["cgroup"] == "none: memory: Permission denied"


def test_a_count_of_processes_is_set_inside_where_outside_it_would_count_others(tmp_path: Path) -> None:
    inside = planned(tmp_path, cgroups=None)
    assert "RLIMIT_NPROC" not in inside.job.rlimits
    assert inside.job.argv[:2] == ["/usr/bin/prlimit", "--nproc=130"]
    beside = planned(tmp_path, cgroups=None, rung=Rung.LANDLOCK, tasks=40)
    assert beside.job.rlimits["RLIMIT_NPROC"] == 170
    assert beside.job.argv == list(RAN.argv)


def test_a_rung_that_is_not_the_best_says_why(tmp_path: Path) -> None:
    made = planned(tmp_path, rung=Rung.NAMESPACES, passed="bubblewrap: bwrap is not installed")
    assert made.facts["sandbox"] == "namespaces and seccomp, uid 65532"
    assert made.facts["passed_over"] == "bubblewrap: bwrap is not installed"
    assert "passed_over" not in planned(tmp_path).facts


def test_unsandboxed_is_said_loudly_and_takes_no_mounts(tmp_path: Path) -> None:
    bare = replace(SPEC, launch=Command(("/usr/bin/python3",), unsandboxed=True))
    made = planned(tmp_path, bare, rung=Rung.NONE)
    assert made.facts["sandbox"].startswith("NONE")
    assert made.job.binds == []
    with pytest.raises(RuntimeFailure, match="unsandboxed"):
        planned(tmp_path, replace(bare, mounts=(Mount(str(tmp_path), "/data"),)), rung=Rung.NONE)


@pytest.mark.parametrize("rung", list(Rung))
def test_a_list_of_destinations_is_refused_since_no_rung_holds_it(tmp_path: Path, rung: Rung) -> None:
    listed = replace(SPEC, network=Network.ALLOWED, egress=("a.example:443",))
    with pytest.raises(RuntimeFailure, match="cannot be held to a list of destinations"):
        planned(tmp_path, listed, rung=rung)


def test_landlock_refuses_a_mount_at_another_place(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with pytest.raises(RuntimeFailure, match="needs namespaces"):
        planned(tmp_path, replace(SPEC, mounts=(Mount(str(data), "/data"),)), rung=Rung.LANDLOCK)


@pytest.mark.parametrize(
    "changes",
    [
        {"volumes": (Volume("data", "/data"),)},
        {"companions": (Companion("db", "db:1"),)},
        {"limits": Limits(disk=1)},
        {"limits": Limits(bandwidth=1)},
    ],
)
def test_what_only_a_container_can_be_given_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(RuntimeFailure, match="run it in a container"):
        planned(tmp_path, replace(SPEC, **changes))  # type: ignore[arg-type]


def test_a_commands_interpreter_that_holds_the_state_directory_is_refused(tmp_path: Path) -> None:
    ran = replace(RAN, binds=(Bind(str(tmp_path), str(tmp_path)),))
    with pytest.raises(RuntimeFailure, match="state directory"):
        plan(SPEC, ran, ground(tmp_path), tmp_path / "home")


@pytest.mark.parametrize("user", ["0", "0:0", "root", ":5", "-1:5", "1:2:3"])
def test_root_and_what_is_no_number_are_refused_as_a_servers_user(user: str) -> None:
    with pytest.raises(RuntimeFailure):
        user_of(replace(SPEC, user=user))


def test_a_server_never_runs_as_root() -> None:
    assert user_of(SPEC).uid == (65532 if os.geteuid() == 0 else os.geteuid())


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    job: Job = replace(planned(tmp_path).job, seccomp=b"\x00\xff")
    file = tmp_path / "job"
    file.write_bytes(write_job(job))
    assert read_job(os.open(file, os.O_RDONLY)) == job
