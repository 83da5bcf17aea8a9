"""What this machine has: a container engine, a sandbox, git; and what of it the quickstart uses, and why.

It must not install anything without a yes.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from examples.marine.quickstart.options import Failure, Options

from tidegate.extensions.runtimes.docker.settings import DockerSettings, locate_engine

ROOT = Path(__file__).resolve().parents[3]
ENGINE_SECONDS = 5.0
INSTALL_SECONDS = 900.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Engine:
    """Whether a container engine answers, and what to tell about it."""

    url: str
    answers: bool
    about: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The runtime that was chosen, and why."""

    runtime: str
    why: str
    started_engine: bool = False


def choose(options: Options, say: Say) -> Choice:
    """Choose where servers run, after asking for what may be installed for it.

    Raises:
        Failure: what was asked for cannot be had here.
    """
    if options.runtime == "process":
        return _processes(options, "asked for with --runtime process", say)
    engine = find_engine()
    if engine.answers:
        return Choice("docker", engine.about)
    if options.runtime is None:
        return _processes(options, f"{engine.about}", say)
    return _start_engine(options, engine, say)


def find_engine() -> Engine:
    """Ask the engine that the gateway would use whether it is there."""
    url = locate_engine(DockerSettings())
    scheme, _, rest = url.partition("://")
    try:
        connection = http.client.HTTPConnection("localhost", timeout=ENGINE_SECONDS)
        if scheme == "unix":
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(ENGINE_SECONDS)
            connection.sock.connect(rest)
        elif scheme in ("tcp", "http"):
            connection = http.client.HTTPConnection(rest, timeout=ENGINE_SECONDS)
        else:
            return Engine(url, False, f"the engine at {url} is none the quickstart can ask")
        connection.request("GET", "/version")
        answer = connection.getresponse()
        answer.read()
        connection.close()
    except PermissionError:
        return Engine(url, False, f"there is a container engine, but you may not open {rest} (group docker)")
    except (FileNotFoundError, ConnectionRefusedError):
        return Engine(url, False, f"no container engine answers at {rest}")
    except (OSError, http.client.HTTPException) as error:
        return Engine(url, False, f"the container engine at {rest} does not answer ({type(error).__name__})")
    return Engine(url, answer.status == 200, f"a container engine answers at {rest}")


def _start_engine(options: Options, engine: Engine, say: Say) -> Choice:
    if os.geteuid() != 0:
        raise Failure(f"{engine.about}; as root it could be installed here, else run with --runtime process")
    if shutil.which("apt-get") is None:
        raise Failure(
            f"{engine.about}, and this is neither Debian nor Ubuntu: install one, or run with --runtime process"
        )
    if shutil.which("dockerd") is None:
        _consent(
            options, "install Docker Engine (Debian's package docker.io) and start it", "--runtime process"
        )
    say("Starting a Docker Engine")
    try:
        done = subprocess.run(
            [ROOT / "scripts" / "engine", "start", "--yes"], timeout=INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"the engine could not be started: {error}; run with --runtime process") from error
    if done.returncode != 0 or not find_engine().answers:
        raise Failure("the engine could not be started (it said why above); run with --runtime process")
    return Choice("docker", "a Docker Engine was started for it", started_engine=True)


def stop_engine(say: Say) -> None:
    """Stop the engine that `choose` started."""
    say("Stopping the Docker Engine that was started")
    try:
        subprocess.run([ROOT / "scripts" / "engine", "stop"], timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        say("it did not stop: scripts/engine stop")


def _processes(options: Options, why: str, say: Say) -> Choice:
    """Sandboxed processes: see that bubblewrap is there where it may be had. The gateway judges what holds."""
    if shutil.which("bwrap") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        if options.yes or sys.stdin.isatty():
            _consent(options, "install bubblewrap, which the sandbox is made with", "--runtime docker")
            install("bubblewrap", say)
        else:
            say(
                "bubblewrap is not installed (apt-get install bubblewrap): a weaker sandbox is used if there is one"
            )
    return Choice("process", why)


def _consent(options: Options, what: str, otherwise: str) -> None:
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"may I {what}? Say so with --yes, or run with {otherwise}")
    try:
        answer = input(f"May I {what}? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Failure(f"not done; run with {otherwise}")


def install(package: str, say: Say) -> None:
    """Install a Debian package. A failure is told, not raised: the gateway says what it lacks."""
    say(f"Installing {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update"], ["install", "-y", "--no-install-recommends", package]):
        command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", *step]
        try:
            done = subprocess.run(
                command, env=environment, timeout=INSTALL_SECONDS, check=False, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            say(f"apt-get did not end in {INSTALL_SECONDS:.0f} s")
            return
        if done.returncode != 0 and step[0] == "install":
            say(f"{package} could not be installed")
