"""A Docker Engine of the test's own: it shares nothing with another one on this machine, and can be restarted.

It runs in a network namespace of its own, so that it touches no bridge and no rule of the host; containers
on it have no network.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.real.images import docker

_UP = 60.0


class OwnEngine:
    """`dockerd` and its containerd, under one directory."""

    def __init__(self, place: Path, *, live_restore: bool, driver: str) -> None:
        self.place = place
        self.socket = place / "docker.sock"
        self.log = place / "log"
        self._live_restore = live_restore
        self._driver = driver
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [
            "unshare", "--net", "--", "dockerd", "--host", self.url, "--bridge", "none", "--iptables=false",
            "--data-root", str(self.place / "data"), "--exec-root", str(self.place / "exec"),
            "--pidfile", str(self.place / "pid"), "--storage-driver", self._driver, "--shutdown-timeout", "5",
            *(["--live-restore"] if self._live_restore else []),
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _UP
        while True:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                docker("--host", self.url, "version", seconds=5)
                return
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd does not come up: {self.log.read_text()[-1500:]}")
            time.sleep(0.1)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the daemon; whether containers go on is its setting."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        if number == signal.SIGKILL:
            self._bury_containerd()

    def _bury_containerd(self) -> None:
        """See that containerd, which dies with its daemon, counts as dead: not everywhere are orphans reaped."""
        kept = self.place / "exec" / "containerd" / "containerd.pid"
        pid = int(kept.read_text())
        deadline = time.monotonic() + 20
        while (state := _state(pid)) not in ("Z", None):
            if time.monotonic() > deadline:
                raise RuntimeError(f"containerd {pid} lives on ({state})")
            time.sleep(0.05)
        kept.unlink()

    def freeze(self) -> None:
        """Have it answer nothing, as an engine does that hangs. A busy machine takes a while to stop all its threads."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 10
        while not _stopped(self._process.pid):
            assert time.monotonic() < deadline, "the engine does not stop"
            time.sleep(0.01)

    def thaw(self) -> None:
        """Have it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def load(self, image: str, source: Path) -> None:
        """Give it an image from the other engine, which is kept as a file between uses."""
        if not source.exists():
            scratch = source.with_suffix(".new")
            docker("save", "--output", str(scratch), image, seconds=300)
            scratch.rename(source)
        docker("--host", self.url, "load", "--input", str(source), seconds=300)


def _stopped(pid: int) -> bool:
    states: set[str] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ended meanwhile
            states.add((task / "stat").read_text().rpartition(")")[2].split()[0])
    return states <= {"T"}


@contextmanager
def own_engine(*, live_restore: bool, driver: str = "overlay2") -> Iterator[OwnEngine]:
    """Run an engine, and leave nothing of it behind."""
    place = Path(tempfile.mkdtemp(prefix="tg-engine-", dir="/var/tmp"))
    engine = OwnEngine(place, live_restore=live_restore, driver=driver)
    try:
        engine.start()
        yield engine
    finally:
        engine.thaw()
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            names = docker("--host", engine.url, "ps", "--all", "--quiet", seconds=30).split()
            if names:
                docker("--host", engine.url, "rm", "--force", *names, seconds=60)
        engine.end()
        _end_shims(place)
        _unmount(place)
        shutil.rmtree(place, ignore_errors=True)


def _end_shims(place: Path) -> None:
    """End what an engine that was killed in the midst of a start has forgotten: a shim, and what it was to run."""
    parents: dict[int, int] = {}
    shims: set[int] = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            pid = int(path.name)
            parents[pid] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if os.fsencode(f"{place}{os.sep}") in (path / "cmdline").read_bytes():
                shims.add(pid)
    for pid in [*shims, *(child for child, parent in parents.items() if parent in shims)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _state(pid: int) -> str | None:
    """Give the letter of a process's state, or None where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None


def _unmount(place: Path) -> None:
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        target = line.split(" ")[1]
        if target.startswith(f"{place}{os.sep}"):
            subprocess.run(["umount", "--lazy", target], check=False, timeout=20)
