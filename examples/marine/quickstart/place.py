"""The directory `.quickstart/`: data for the servers, the settings file, the gateway's state and its log.

What a server may write to must belong to the user it runs as: 65532 where the gateway is root, else the
gateway's own. Data that is there already is kept, since a server may have changed it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from examples.marine import database, repository
from examples.marine.quickstart.host import ROOT
from examples.marine.quickstart.options import Failure

PLACE = ROOT / ".quickstart"
DATABASE = PLACE / "data" / "marine.db"
REPOSITORY = PLACE / "wordings"
SETTINGS = PLACE / "tidegate.yaml"
STATE = PLACE / "state"
LOG = PLACE / "gateway.log"
SERVER_UID = 65532  # whom a gateway that is root runs its servers as

HEAD = """\
# Written anew at each run of scripts/quickstart: copy it before you change it.
listen: 127.0.0.1:{port}
state: state
runtime: {runtime}
{runtimes}servers:
  time:
    package: pypi:mcp-server-time==2026.10.19
    args: [--local-timezone, UTC]
    stateless: true
"""
# A base made here from Debian's packages needs root; without, a base that cannot be pulled is an error.
DOCKER = """\
runtimes:
  docker:
    base: {{python: "python:3.12"}}  # not -slim, which lacks the program git
    bootstrap: {bootstrap}
"""
GIT = """\
  git:
    package: pypi:mcp-server-git==2026.10.19
    args: [--repository, /data/wordings]
    mounts: [{source: wordings, target: /data/wordings}]
    stateless: true
"""
SQLITE = """\
  sqlite:
    package: pypi:mcp-server-sqlite==2025.4.25
    with: ["mcp<2"]
    args: [--db-path, /data/marine.db]
    mounts: [{source: data, target: /data, writable: true}]
"""


def lay(*, runtime: str, port: int) -> bool:
    """Make data and settings. Tell whether there is a repository for the git server.

    Raises:
        Failure: the directory cannot be written.
    """
    try:
        PLACE.mkdir(mode=0o755, exist_ok=True)
        _lay_database()
        with_git = _lay_repository()
        text = settings(runtime=runtime, port=port, with_git=with_git, root=os.geteuid() == 0)
        SETTINGS.write_text(text, encoding="utf-8")
    except OSError as error:
        if error.filename is None:
            raise Failure(f"could not write under {PLACE}: {error.strerror}") from error
        raise Failure(f"{error.filename}: {error.strerror}; another user's? Remove {PLACE}") from error
    return with_git


def settings(*, runtime: str, port: int, with_git: bool, root: bool) -> str:
    """Give the text of the settings file."""
    runtimes = DOCKER.format(bootstrap="true" if root else "false") if runtime == "docker" else ""
    return HEAD.format(port=port, runtime=runtime, runtimes=runtimes) + (GIT if with_git else "") + SQLITE


def _lay_database() -> None:
    if not DATABASE.exists():
        database.write(DATABASE)
    _give_away(DATABASE.parent)


def _lay_repository() -> bool:
    if shutil.which("git") is None:
        return False
    if not REPOSITORY.exists():
        scratch = REPOSITORY.with_name("wordings.new")
        try:
            repository.write(scratch)
        except subprocess.CalledProcessError as error:
            raise Failure(f"git could not make {scratch}: {error.stderr.strip()}") from error
        scratch.rename(REPOSITORY)
    _give_away(REPOSITORY)  # git reads no repository that belongs to another user
    return True


def _give_away(directory: Path) -> None:
    if os.geteuid() != 0:
        return
    for path in (directory, *directory.rglob("*")):
        os.chown(path, SERVER_UID, SERVER_UID, follow_symlinks=False)
