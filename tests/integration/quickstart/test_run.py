"""The quickstart as a newcomer meets it: a fresh checkout, its own installation, real servers, real endings."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NOT_COPIED = (
    ".git",
    ".venv",
    ".quickstart",
    ".tools",
    "node_modules",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
)
INSTALL_SECONDS, RUN_SECONDS, END_SECONDS = 600, 420, 60

pytestmark = [pytest.mark.network, pytest.mark.timeout(INSTALL_SECONDS + RUN_SECONDS)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout in which nothing was run yet."""
    path = tmp_path_factory.mktemp("fresh") / "tidegate"
    shutil.copytree(ROOT, path, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)  # half a gigabyte, some of it another user's


class Run:
    """A quickstart that was started, and what it has said."""

    def __init__(self, checkout: Path, *words: str) -> None:
        self._said = checkout.parent / f"said-{time.monotonic_ns()}"
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(
                [checkout / "scripts" / "quickstart", *words],
                stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self._said.read_text("utf-8", "replace")

    def until(self, words: str, seconds: float = RUN_SECONDS) -> str:
        """Wait until it said the words; give all that it said."""
        wait_for(lambda: words in self.said or self.process.poll() is not None, seconds, self._why)
        assert words in self.said, self.said
        return self.said

    def end(self, seconds: float = END_SECONDS) -> int:
        """Wait for its end; give its status."""
        wait_for(lambda: self.process.poll() is not None, seconds, self._why)
        assert self.process.returncode is not None
        return self.process.returncode

    def _why(self) -> str:
        return self.said

    def kill(self) -> None:
        """Let nothing stay behind a test that failed."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(END_SECONDS)


def wait_for(holds: Callable[[], bool], seconds: float, why: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s:\n{why()}"
        time.sleep(0.05)


@pytest.fixture
def start(checkout: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(*words: str) -> Run:
        runs.append(Run(checkout, *words))
        return runs[-1]

    yield begin
    for run in runs:
        run.kill()


def running_from(checkout: Path) -> list[str]:
    """Give the command lines of living processes that name the checkout."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(checkout) in line:
            found.append(line)
    return found


def containers_of(checkout: Path) -> list[str]:
    instance = (checkout / ".quickstart" / "state" / "instance").read_text().strip()
    query = ["docker", "ps", "--all", "--quiet", "--filter", f"label=dev.tidegate.instance={instance}"]
    return subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.split()


def expect_nothing_running(checkout: Path) -> None:
    wait_for(lambda: not running_from(checkout), END_SECONDS, lambda: "\n".join(running_from(checkout)))


def expect_the_answer(said: str, port: int) -> None:
    for words in ("vessel", "Delta Horizon", "foundering", "20,895,000"):
        assert words in said, said
    assert "The answer equals what the database file says (5 rows" in said
    assert f"claude mcp add --transport http tidegate http://127.0.0.1:{port}/mcp" in said
    for server, tools in (("time", 2), ("git", 12), ("sqlite", 6)):
        assert any(
            line.split()[:2] == [server, "ready,"] and f"{tools} tools" in line for line in said.splitlines()
        )


def example_in_readme() -> list[tuple[list[str], str]]:
    """Give the commands of the README's console, each with the answer that is printed below it."""
    [block] = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    shown = block.replace("\\\n", " ").split("$ ")[1:]
    return [(shlex.split(part.partition("\n")[0]), part.partition("\n")[2]) for part in shown]


@pytest.mark.sandbox
def test_a_newcomer_gets_an_answer_from_a_sandboxed_process_and_nothing_stays(
    checkout: Path, start: Callable[..., Run], free_port: int
) -> None:
    run = start("--once", "--runtime", "process", "--port", str(free_port))
    assert run.end(INSTALL_SECONDS + RUN_SECONDS) == 0, run.said
    assert "Each server runs in a sandboxed process of its own: asked for with --runtime process" in run.said
    expect_the_answer(run.said, free_port)
    expect_nothing_running(checkout)


@pytest.mark.sandbox
def test_a_second_run_installs_nothing_answers_as_the_readme_says_and_serves_until_it_is_interrupted(
    checkout: Path, start: Callable[..., Run], free_port: int
) -> None:
    run = start("--runtime", "process", "--port", str(free_port))
    run.until("Serving until Ctrl-C")
    expect_the_answer(run.said, free_port)

    second = start("--once", "--port", str(free_port))
    assert second.end() == 1
    assert "a quickstart runs here already" in second.said
    assert "Installing" not in second.said

    for command, answer in example_in_readme():
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == (answer, "")

    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0, run.said
    assert "Stopping" in run.said
    expect_nothing_running(checkout)


@pytest.mark.sandbox
def test_a_quickstart_that_is_killed_takes_its_gateway_along(
    checkout: Path, start: Callable[..., Run], free_port: int
) -> None:
    run = start("--runtime", "process", "--port", str(free_port))
    run.until("Serving until Ctrl-C")
    os.kill(run.process.pid, signal.SIGKILL)
    assert run.end() == -signal.SIGKILL
    expect_nothing_running(checkout)
    assert "gateway.stopped" in (checkout / ".quickstart" / "gateway.log").read_text()


@pytest.mark.sandbox
def test_a_port_that_is_taken_is_told_in_one_line(checkout: Path, start: Callable[..., Run]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = start("--once", "--runtime", "process", "--port", str(port))
        assert run.end(INSTALL_SECONDS) == 1
    assert run.said.splitlines()[-1] == f"quickstart: port {port} is in use: choose another with --port"


@pytest.mark.docker
def test_a_newcomer_with_an_engine_gets_an_answer_from_containers_and_nothing_stays(
    checkout: Path, start: Callable[..., Run], free_port: int
) -> None:
    run = start("--runtime", "docker", "--yes", "--port", str(free_port))
    wait_for(
        lambda: "Serving until" in run.said or run.process.poll() is not None,
        INSTALL_SECONDS + RUN_SECONDS, lambda: run.said,
    )  # fmt: skip
    if "a Debian base cannot be made either" in run.said:
        pytest.skip(f"no base image can be had: {run.said.splitlines()[-1]}")
    expect_the_answer(run.said, free_port)
    assert "Each server runs in its own container" in run.said
    assert len(containers_of(checkout)) >= 2
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 0, run.said
    assert containers_of(checkout) == []
    expect_nothing_running(checkout)
