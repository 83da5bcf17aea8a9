"""The directory `.quickstart/`: data for the servers, the settings file, the gateway's state and its log.

What a server may write to must belong to the user it runs as: 65532 where the gateway is root, else the
gateway's own. Data that is there already is kept, since a server may have changed it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from examples.marine import database, repository
from examples.marine.quickstart.host import BOOTSTRAP_PACKAGES, ROOT, Choice
from examples.marine.quickstart.options import Failure

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
DOCKER_BASE = """\
runtimes:
  docker:
    base: {{python: "{base}"}}
"""
DOCKER_BOOTSTRAP = """\
runtimes:
  docker: {{bootstrap: true, bootstrap_packages: [{packages}]}}
"""
GIT = """\
  git:
    package: pypi:mcp-server-git==2026.10.19
    args: [--repository, {wordings}]
    mounts: [{{source: wordings, target: {wordings}}}]
    stateless: true
"""
SQLITE = """\
  sqlite:
    package: pypi:mcp-server-sqlite==2025.4.25
    with: ["mcp<2"]
    args: [--db-path, {database}]
    mounts: [{{source: data, target: {data}, writable: true}}]
"""


@dataclass(frozen=True, slots=True)
class Place:
    """The directory, and what is where in it."""

    directory: Path = ROOT / ".quickstart"

    @property
    def database(self) -> Path:
        """What the sqlite server is asked about."""
        return self.directory / "data" / "marine.db"

    @property
    def repository(self) -> Path:
        """What the git server is asked about."""
        return self.directory / "wordings"

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.directory / "tidegate.yaml"

    @property
    def state(self) -> Path:
        """The gateway's state directory, in which its control socket stands."""
        return self.directory / "state"

    @property
    def log(self) -> Path:
        """What the gateway writes."""
        return self.directory / "gateway.log"


def lay(place: Place, choice: Choice, port: int) -> bool:
    """Make data and settings. Tell whether there is a repository for the git server.

    Raises:
        Failure: the directory cannot be written.
    """
    try:
        place.directory.mkdir(mode=0o755, exist_ok=True)
        _lay_database(place.database)
        with_git = _lay_repository(place.repository)
        place.settings.write_text(settings(place, choice, port, with_git=with_git), encoding="utf-8")
    except OSError as error:
        if error.filename is None:
            raise Failure(f"could not write under {place.directory}: {error.strerror}") from error
        raise Failure(
            f"{error.filename}: {error.strerror}; another user's? Remove {place.directory}"
        ) from error
    return with_git


def settings(place: Place, choice: Choice, port: int, *, with_git: bool) -> str:
    """Give the text of the settings file."""
    as_process = choice.runtime == "process"
    runtimes = _of_docker(choice) if choice.runtime == "docker" else ""
    text = HEAD.format(port=port, runtime=choice.runtime, runtimes=runtimes)
    if with_git:
        text += GIT.format(wordings=_inside(place.repository, "/data/wordings", as_process))
    data = _inside(place.database.parent, "/data", as_process)
    return text + SQLITE.format(data=data, database=_inside(place.database, "/data/marine.db", as_process))


def _of_docker(choice: Choice) -> str:
    if choice.base is not None:
        return DOCKER_BASE.format(base=choice.base)
    return DOCKER_BOOTSTRAP.format(packages=", ".join(BOOTSTRAP_PACKAGES))


def _inside(path: Path, container: str, as_process: bool) -> str:
    """Say where a server finds a path: not every sandbox for processes can give it another name."""
    return json.dumps(str(path)) if as_process else container


def _lay_database(path: Path) -> None:
    if not path.exists():
        database.write(path)
    _give_away(path.parent)


def _lay_repository(path: Path) -> bool:
    if shutil.which("git") is None:
        return False
    if not path.exists():
        scratch = path.with_name(path.name + ".new")
        try:
            repository.write(scratch)
        except subprocess.CalledProcessError as error:
            raise Failure(f"git could not make {scratch}: {error.stderr.strip()}") from error
        scratch.rename(path)
    _give_away(path)  # git reads no repository that belongs to another user
    return True


def _give_away(directory: Path) -> None:
    if os.geteuid() != 0:
        return
    for path in (directory, *directory.rglob("*")):
        os.chown(path, SERVER_UID, SERVER_UID, follow_symlinks=False)
