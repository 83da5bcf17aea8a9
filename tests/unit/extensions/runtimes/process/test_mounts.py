"""Mounts that would give a server the host are refused, by the path they really lead to."""

import socket
from pathlib import Path

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Mount
from tidegate.extensions.runtimes.process.mounts import binds


@pytest.mark.parametrize(
    "source",
    ["/", "/proc", "/proc/1", "/sys/fs/cgroup", "/dev", "/etc", "/etc/ssl", "/run", "/var/run/docker.sock",
     "/var/lib/docker/volumes", "/var", "/usr/../etc", "//etc"],
)  # fmt: skip
def test_the_host_is_not_given(source: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match="refused"):
        binds([Mount(source, "/data")], tmp_path / "state")


def test_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "innocent").symlink_to("/etc")
    with pytest.raises(RuntimeFailure, match="/etc"):
        binds([Mount(str(tmp_path / "innocent"), "/data")], tmp_path / "state")


def test_neither_the_state_directory_nor_what_holds_it_is_given(tmp_path: Path) -> None:
    state = tmp_path / "project" / ".tidegate"
    (state / "keys").mkdir(parents=True)
    (tmp_path / "project" / "data").mkdir()
    for refused in (state, state / "keys", tmp_path / "project", tmp_path):
        with pytest.raises(RuntimeFailure, match="state directory"):
            binds([Mount(str(refused), "/data")], state)
    [given] = binds([Mount(str(tmp_path / "project" / "data"), "/data")], state)
    assert (given.target, given.writable) == ("/data", False)


def test_a_socket_is_not_given_wherever_it_is(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "engine.sock"))
        with pytest.raises(RuntimeFailure, match="neither a directory nor a plain file"):
            binds([Mount(str(tmp_path / "engine.sock"), "/data")], tmp_path / "state")


def test_a_source_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match="No such file"):
        binds([Mount(str(tmp_path / "nothing"), "/data")], tmp_path / "state")


@pytest.mark.parametrize(
    "target",
    ["//etc", "//data", "/", "//", "data", "/data/", "/data/../usr", "/usr/lib", "/usr", "/etc/passwd", "/proc/self", "/dev/null",
     "/opt/server", "/opt/server/bin", "/opt", "/tmp", ""],
)  # fmt: skip
def test_the_sandboxs_own_places_are_not_covered(target: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(RuntimeFailure, match="target"):
        binds([Mount(str(tmp_path / "data"), target)], tmp_path / "state")
