"""The settings that the quickstart writes are settings that the gateway takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples.marine.quickstart.host import Choice
from examples.marine.quickstart.place import Place, settings

from tidegate.domain.server import Package
from tidegate.extensions import table
from tidegate.extensions.runtimes.docker import DockerSettings
from tidegate.settings import Settings, parse

BASED = Choice("docker", "an engine answers", base="python:3.12")
BOOTSTRAPPED = Choice("docker", "an engine answers")
PROCESS = Choice("process", "no engine answers")


def read(tmp_path: Path, choice: Choice, *, with_git: bool = True) -> Settings:
    for directory in ("wordings", "data"):
        (tmp_path / directory).mkdir(exist_ok=True)
    return parse(settings(Place(tmp_path), choice, 8123, with_git=with_git), tmp_path, table)


@pytest.mark.parametrize("choice", [BASED, BOOTSTRAPPED, PROCESS])
def test_settings_load_with_every_server_pinned(tmp_path: Path, choice: Choice) -> None:
    read_back = read(tmp_path, choice)
    launches = {server.name: server.launch for server in read_back.servers}
    assert list(launches) == ["time", "git", "sqlite"]
    for launch in launches.values():
        assert isinstance(launch, Package)
        assert launch.version
    assert read_back.listen.port == 8123
    assert read_back.runtime == choice.runtime


@pytest.mark.parametrize("choice", [BASED, BOOTSTRAPPED])
def test_where_an_engine_answers_every_server_runs_in_a_container_with_git_in_its_base(
    tmp_path: Path, choice: Choice
) -> None:
    read_back = read(tmp_path, choice)
    assert {server.runtime for server in read_back.servers} == {"docker"}
    docker = read_back.runtimes["docker"]
    assert isinstance(docker, DockerSettings)
    assert docker.base.python == "python:3.12" or docker.bootstrap_packages == ("git",)


@pytest.mark.parametrize("choice", [BASED, BOOTSTRAPPED, PROCESS])
def test_without_git_the_git_server_is_left_out(tmp_path: Path, choice: Choice) -> None:
    assert [server.name for server in read(tmp_path, choice, with_git=False).servers] == ["time", "sqlite"]
