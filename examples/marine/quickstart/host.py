"""What this machine has: a container engine, a sandbox, git; and what of it the quickstart uses, and why.

It must not install anything without a yes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from examples.marine.quickstart import engine as engines
from examples.marine.quickstart.engine import Engine
from examples.marine.quickstart.options import Failure, Options

from tidegate.extensions.runtimes.docker.bases import bootstrapped, cannot_bootstrap

ROOT = Path(__file__).resolve().parents[3]
INSTALL_SECONDS = 900.0
BASE = "python:3.12"  # not -slim, which lacks the program git
BOOTSTRAP_PACKAGES = ("git",)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the servers run, and why."""

    runtime: str
    why: str
    base: str | None = None
    """The image that packages are put on; None where a Debian base is bootstrapped instead."""


def choose(options: Options, say: Say) -> Choice:
    """Choose where servers run, after asking for what may be installed for it.

    Raises:
        Failure: what was asked for cannot be had here.
    """
    if options.runtime == "process":
        return _processes(options, "asked for with --runtime process", say)
    engine = engines.find()
    if not engine.answers and options.runtime == "docker":
        engine = _start_engine(options, engine, say)
    if not engine.answers:
        return _processes(options, engine.about, say)
    if not engines.has(engine.url, BASE) and engines.has(
        engine.url, bootstrapped("pypi", BOOTSTRAP_PACKAGES)
    ):
        return Choice("docker", engine.about)  # bootstrapped in an earlier run
    unfit = engines.bring(engine.url, BASE, say)
    if unfit is None:
        return Choice("docker", engine.about, BASE)
    say(f"{BASE} cannot be pulled ({unfit})")
    lacking = _lacks_for_bootstrap(options)
    if lacking is None:
        return Choice("docker", f"{engine.about}; a Debian base is made for it")
    if options.runtime == "docker":
        raise Failure(
            f"{BASE} cannot be pulled ({unfit}), and a Debian base cannot be made either: {lacking}"
        )
    return _processes(
        options, f"{engine.about}, but there is no base image, and none can be made: {lacking}", say
    )


def _lacks_for_bootstrap(options: Options) -> str | None:
    """Say why a base cannot be made here; None where it can."""
    if os.geteuid() == 0 and shutil.which("debootstrap") is None and shutil.which("apt-get"):
        if not agreed(options, "install debootstrap, which makes the base"):
            return "debootstrap is not installed (--yes installs it)"
        _engine_script("--bases")
    return cannot_bootstrap()


def _start_engine(options: Options, engine: Engine, say: Say) -> Engine:
    if os.geteuid() != 0:
        raise Failure(f"{engine.about}; only root may install or start one, else run with --runtime process")
    if shutil.which("apt-get") is None:
        raise Failure(
            f"{engine.about}, and this is neither Debian nor Ubuntu: install one, or run with --runtime process"
        )
    engine_of_debian = "install Docker Engine (Debian's package docker.io) and start it"
    if shutil.which("dockerd") is None and not agreed(options, engine_of_debian):
        raise Failure(f"{engine.about}; --yes lets me {engine_of_debian}, else run with --runtime process")
    say("Starting a Docker Engine; it goes on running after this")
    done = _engine_script()
    found = engines.find()
    if not done or not found.answers:
        raise Failure("the engine could not be started (it said why above); run with --runtime process")
    return found


def _engine_script(*words: str) -> bool:
    """Run `scripts/engine`, which says itself what it does; tell whether it went well."""
    try:
        command = [ROOT / "scripts" / "engine", *words]
        done = subprocess.run(command, timeout=INSTALL_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"scripts/engine did not end well: {error}; run with --runtime process") from error
    return done.returncode == 0


def _processes(options: Options, why: str, say: Say) -> Choice:
    """Sandboxed processes: see that bubblewrap is there where it may be had. The gateway judges what holds."""
    if shutil.which("bwrap") is None:
        if (
            os.geteuid() == 0
            and shutil.which("apt-get")
            and agreed(options, "install bubblewrap for the sandbox")
        ):
            install("bubblewrap", say)
        else:
            say(
                "bubblewrap is not installed (apt-get install bubblewrap): another sandbox is used if there is one"
            )
    return Choice("process", why)


def agreed(options: Options, what: str) -> bool:
    """Ask whether something may be done. Where nobody can be asked, `--yes` says so."""
    if options.yes or not sys.stdin.isatty():
        return options.yes
    try:
        answer = input(f"May I {what}? [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")


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
