"""The settings that the quickstart writes are settings that the gateway takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples.marine.quickstart import place

from tidegate.domain.server import Package
from tidegate.extensions import table
from tidegate.settings import Settings, parse


def read(tmp_path: Path, *, runtime: str = "process", with_git: bool = True, root: bool = True) -> Settings:
    for directory in ("wordings", "data"):
        (tmp_path / directory).mkdir(exist_ok=True)
    text = place.settings(runtime=runtime, port=8123, with_git=with_git, root=root)
    return parse(text, tmp_path, table)


@pytest.mark.parametrize("runtime", ["docker", "process"])
@pytest.mark.parametrize("root", [True, False])
def test_settings_load_with_every_server_pinned(tmp_path: Path, runtime: str, root: bool) -> None:
    settings = read(tmp_path, runtime=runtime, root=root)
    launches = {server.name: server.launch for server in settings.servers}
    assert list(launches) == ["time", "git", "sqlite"]
    for launch in launches.values():
        assert isinstance(launch, Package)
        assert launch.version
    assert settings.listen.port == 8123


def test_without_git_the_git_server_is_left_out(tmp_path: Path) -> None:
    assert [server.name for server in read(tmp_path, with_git=False).servers] == ["time", "sqlite"]


def test_only_root_may_have_a_base_bootstrapped(tmp_path: Path) -> None:
    assert "bootstrap: true" in place.settings(runtime="docker", port=1, with_git=True, root=True)
    assert "bootstrap: false" in place.settings(runtime="docker", port=1, with_git=True, root=False)
    assert "bootstrap" not in place.settings(runtime="process", port=1, with_git=True, root=True)
