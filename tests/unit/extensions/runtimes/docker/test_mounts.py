"""Which paths of the host a workload may be given."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Image, Mount, ServerSpec
from tidegate.extensions.runtimes.docker.mounts import allowed_mounts, forbidden_places

SPEC = ServerSpec("vessels", Image("vessels:1"), "docker")


@pytest.fixture
def forbidden(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "project/.tidegate").mkdir(parents=True)
    (tmp_path / "project/data").mkdir()
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine/docker.sock").touch()
    engine = f"unix://{tmp_path}/engine/docker.sock"
    return forbidden_places(tmp_path / "project/.tidegate", engine, tmp_path / "home")


def asked(source: Path | str, target: str = "/data") -> ServerSpec:
    return replace(SPEC, mounts=(Mount(str(source), target),))


def test_a_directory_beside_what_is_forbidden_is_given(tmp_path: Path, forbidden: tuple[str, ...]) -> None:
    [mount] = allowed_mounts(asked(tmp_path / "project/data"), forbidden)
    assert mount == Mount(str(tmp_path / "project/data"), "/data")


@pytest.mark.parametrize("source", ["project/.tidegate", "home/.ssh", "engine/docker.sock"])
def test_the_gateways_state_a_users_keys_and_the_engines_socket_are_refused(
    tmp_path: Path, forbidden: tuple[str, ...], source: str
) -> None:
    with pytest.raises(RuntimeFailure, match="it is in"):
        allowed_mounts(asked(tmp_path / source), forbidden)


@pytest.mark.parametrize("source", ["project", "home", "engine", ""])
def test_a_directory_that_contains_such_a_place_is_refused(
    tmp_path: Path, forbidden: tuple[str, ...], source: str
) -> None:
    with pytest.raises(RuntimeFailure, match="it contains"):
        allowed_mounts(asked(tmp_path / source), forbidden)


def test_a_link_to_such_a_place_is_followed_and_refused(tmp_path: Path, forbidden: tuple[str, ...]) -> None:
    (tmp_path / "project/data/innocent").symlink_to(tmp_path / "home/.ssh")
    with pytest.raises(RuntimeFailure, match="it is in"):
        allowed_mounts(asked(tmp_path / "project/data/innocent"), forbidden)


@pytest.mark.parametrize(
    "source", ["/", "/proc", "/proc/self", "/sys", "/dev", "/etc", "/etc/passwd", "/run"]
)
def test_the_systems_own_places_are_refused(forbidden: tuple[str, ...], source: str) -> None:
    with pytest.raises(RuntimeFailure, match="may not be mounted"):
        allowed_mounts(asked(source), forbidden)


def test_a_source_that_is_not_there_is_refused(tmp_path: Path, forbidden: tuple[str, ...]) -> None:
    with pytest.raises(RuntimeFailure, match="is not there"):
        allowed_mounts(asked(tmp_path / "project/missing"), forbidden)


@pytest.mark.parametrize(
    "target",
    ["/", "/proc", "/proc/1", "/etc/passwd", "/dev/shm", "relative", "/data/../etc", "//etc", "//proc/1"],
)
def test_nothing_is_mounted_where_it_would_change_the_container(
    tmp_path: Path, forbidden: tuple[str, ...], target: str
) -> None:
    with pytest.raises(RuntimeFailure, match="mount"):
        allowed_mounts(asked(tmp_path / "project/data", target), forbidden)


def test_a_socket_is_refused_wherever_it_stands(tmp_path: Path, forbidden: tuple[str, ...]) -> None:
    """An engine's other sockets are not known by their names."""
    place = tmp_path / "project/data/any.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(place))
        with pytest.raises(RuntimeFailure, match="neither a directory nor a plain file"):
            allowed_mounts(asked(place), forbidden)
