"""What is in the repository is of the project alone: no machine's paths, no registry's hosts, nothing unpinned."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "locks").glob("*.txt"))
NPM_LOCKS = sorted(ROOT.glob("tests/**/package-lock.json"))
LARGEST = 1024 * 1024
LARGE: dict[str, int] = {}
"""Files that may be larger than that, with how large each may be."""

# A letter in brackets keeps this file from naming them itself.
PLACES = re.compile(r"(?<![\w.-])/(wor[k]|roo[t]|hom[e]/[a-z]\w*|opt/wheel[s])/")
MEANT = {"src/tidegate/extensions/runtimes/docker/mounts.py": 1}
"""Files that are about such a path, and how often they may name one: what no server may mount."""
INDEXES = re.compile(r"pypi[.]org|pythonhosted[.]org|npmjs[.]org|index-ur[l]|find-link[s] ?=")
MEANT_INDEXES = {
    "scripts/lock": "it asks for none to be written",
    "src/tidegate/extensions/runtimes/process/environments.py": "a directory of its own, --no-index",
    "src/tidegate/extensions/runtimes/docker/build.py": "a directory of its own, --no-index",
    "tests/unit/extensions/packages/test_names.py": "what is refused as a package",
}


@cache
def kept() -> dict[str, bytes]:
    """Give the files that git keeps, with what is in them now."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout with git at hand")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60)
    names = [name for name in listed.stdout.decode().split("\0") if name]
    assert "pyproject.toml" in names
    return {name: (ROOT / name).read_bytes() for name in names if (ROOT / name).is_file()}


def texts() -> dict[str, str]:
    return {name: data.decode() for name, data in kept().items() if b"\0" not in data}


def requirements(lock: Path) -> dict[str, str]:
    """Give each requirement of a lock with the options that follow it."""
    joined = re.sub(r"\\\n\s*", " ", lock.read_text())
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return {line.split()[0]: line for line in lines}


def test_no_file_names_a_path_of_a_machine() -> None:
    found = {name: len(PLACES.findall(text)) for name, text in texts().items()}
    assert {name: count for name, count in found.items() if count} == MEANT


def test_no_file_names_a_package_index() -> None:
    found = {name for name, text in texts().items() if INDEXES.search(text)}
    assert found == MEANT_INDEXES.keys()


def test_what_is_looked_for_would_be_found() -> None:
    machine, index = "/".join(("", "work", "main")), ".".join(("pypi", "org"))
    assert PLACES.search(f"cd {machine}") is not None
    assert INDEXES.search(f"https://{index}/simple") is not None


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_requirement_is_pinned_and_has_hashes(lock: Path) -> None:
    locked = requirements(lock)
    assert locked
    for name, line in locked.items():
        assert re.fullmatch(r"[a-z0-9.-]+(\[[a-z0-9,-]+\])?==[\w.!+]+", name), line[:80]
        assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", line), f"{name} has no hash"
    assert "://" not in lock.read_text()


def test_locks_agree_where_they_lock_the_same() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for pinned in requirements(lock):
            name, _, version = pinned.partition("==")
            versions.setdefault(name, set()).add(version)
    assert [lock.name for lock in LOCKS] == ["build.txt", "runtime.txt", "test.txt"]
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_what_the_project_declares_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    declared = {
        "runtime.txt": project["project"]["dependencies"],
        "test.txt": [*project["project"]["dependencies"], *groups["test"]],
        "build.txt": [*project["build-system"]["requires"], *groups["build"]],
    }
    for name, wanted in declared.items():
        locked = {
            pinned.partition("==")[0].partition("[")[0] for pinned in requirements(ROOT / "locks" / name)
        }
        for requirement in wanted:
            named = re.match(r"[A-Za-z0-9._-]+", requirement)
            assert named is not None
            assert named[0].lower() in locked, f"locks/{name} lacks {named[0]}: run scripts/lock"


@pytest.mark.parametrize("lock", NPM_LOCKS, ids=lambda lock: lock.parent.name)
def test_every_locked_npm_package_has_its_hash_and_no_address(lock: Path) -> None:
    packages = json.loads(lock.read_text())["packages"]
    packages.pop("")
    assert packages
    for name, about in packages.items():
        assert about["integrity"].startswith("sha512-"), name
        assert "resolved" not in about, name


def test_no_file_is_large_unless_that_is_declared() -> None:
    large = {name for name, data in kept().items() if len(data) > LARGE.get(name, LARGEST)}
    assert large == set()
    assert LARGE.keys() <= kept().keys()
