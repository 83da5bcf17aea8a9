"""What npm is let do while it fetches: it runs outside any sandbox."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.packages.names import Target
from tidegate.extensions.packages.node import MODULES, find_node, install


def _has_npm() -> bool:
    try:
        find_node()
    except RuntimeFailure:
        return False
    return True


@pytest.mark.skipif(not _has_npm(), reason="there is no npm")
@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_dependency_by_git_is_not_fetched_and_nothing_of_it_runs(tmp_path: Path) -> None:
    evil, app = tmp_path / "evil", tmp_path / "app"
    for place in (evil, app):
        place.mkdir()
    marks = {"prepare": f"touch {tmp_path / 'ran'}"}
    (evil / "package.json").write_text(json.dumps({"name": "evil", "version": "1.0.0", "scripts": marks}))
    named = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for words in (["init", "-q"], ["add", "."], [*named, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *words], cwd=evil, check=True)
    asked = {"name": "app", "private": True, "dependencies": {"evil": f"git+file://{evil}"}}
    (app / "package.json").write_text(json.dumps(asked))
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        install(Target(), tmp_path / "cache"), cwd=app, env=env, capture_output=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert not (app / MODULES / "evil").exists()
    assert not (tmp_path / "ran").exists()
