"""Contexts of builds and names of images."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Package
from tidegate.extensions.runtimes.docker.build import image_name, target_of
from tidegate.extensions.runtimes.docker.context import Context, entrypoint, pack_root, run
from tidegate.extensions.runtimes.docker.images import Resolved, Telling
from tidegate.ports.runtime import Progress

TIME = Package("pypi", "mcp-server-time", "1.0")
BASE = Resolved(
    "python:3.12-slim", "sha256:1", "python@sha256:1", {"PYTHON_VERSION": "3.12.7"}, {}, (), "amd64"
)


def test_an_images_name_changes_with_what_goes_into_it_and_with_nothing_else() -> None:
    name = image_name(TIME, "sha256:1")
    assert name.startswith("tidegate/mcp-server-time:")
    assert image_name(replace(TIME, args=("--fast",)), "sha256:1") == name
    changed = {
        image_name(TIME, "sha256:2"),
        image_name(replace(TIME, version="1.1"), "sha256:1"),
        image_name(replace(TIME, extras=("mcp<2",)), "sha256:1"),
        image_name(replace(TIME, executable="other"), "sha256:1"),
        image_name(replace(TIME, index="npm"), "sha256:1"),
    }
    assert len(changed | {name}) == 6


def test_a_scoped_name_makes_a_valid_repository() -> None:
    assert image_name(Package("npm", "@a/Server_X", "1.0.0"), "b").startswith("tidegate/a-server-x:")


def test_a_package_is_fetched_for_the_python_and_machine_of_its_base() -> None:
    target = target_of(TIME, BASE)
    assert (target.python, target.machine) == ("3.12", "x86_64")


def test_a_base_that_does_not_tell_its_python_or_is_of_another_machine_is_refused() -> None:
    with pytest.raises(RuntimeFailure, match="PYTHON_VERSION"):
        target_of(TIME, replace(BASE, environment={}))
    with pytest.raises(RuntimeFailure, match="s390x"):
        target_of(TIME, replace(BASE, architecture="s390x"))


def test_no_word_of_a_build_is_read_by_a_shell() -> None:
    assert run("pip", "a b; $(c)") == 'RUN ["pip", "a b; $(c)"]'
    assert entrypoint("x") == 'ENTRYPOINT ["x"]'


def test_equal_parts_make_equal_contexts(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a/program").write_text("x")
    (tree / "a/program").chmod(0o700)
    (tree / "link").symlink_to("a/program")
    contexts: list[bytes] = []
    for name in ("one", "two"):
        with Context(tmp_path / name) as context:
            context.dockerfile(["FROM scratch"])
            context.tree("server", tree)
        contexts.append((tmp_path / name).read_bytes())
        (tree / "a/program").touch()
    assert contexts[0] == contexts[1]
    with tarfile.open(tmp_path / "one") as tar:
        assert tar.getnames() == ["Dockerfile", "server", "server/a", "server/link", "server/a/program"]
        assert tar.getmember("server/a/program").mode == 0o755
        assert tar.getmember("server/link").linkname == "a/program"


def test_a_bootstrapped_root_has_nothing_setuid_and_no_caches(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "var/cache/apt").mkdir(parents=True)
    (root / "var/cache/apt/kept").touch()
    (root / "usr/bin/su").touch()
    (root / "usr/bin/su").chmod(0o4755)
    pack_root(root, tmp_path / "root.tar", ("var/cache",))
    with tarfile.open(tmp_path / "root.tar") as tar:
        names = {name.removeprefix("./") for name in tar.getnames()}
        assert {"usr/bin/su", "var/cache"} <= names
        assert not any(name.startswith("var/cache/") for name in names)
        assert tar.getmember("./usr/bin/su").mode == 0o755


def test_the_layers_of_a_pull_are_added_up() -> None:
    told: list[Progress] = []
    telling = Telling("time", "pulling x", told.append)
    telling.take({"status": "Pulling from library/x", "id": "latest"})
    telling.take({"status": "Downloading", "id": "a", "progressDetail": {"current": 5, "total": 10}})
    telling.take({"status": "Downloading", "id": "b", "progressDetail": {"current": 1, "total": 30}})
    telling.take({"status": "Download complete", "id": "a", "progressDetail": {}})
    assert [(one.done, one.total) for one in told] == [(5, 10), (6, 40), (11, 40)]
