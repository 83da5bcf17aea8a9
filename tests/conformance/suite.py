"""The conformance suite of the Model Context Protocol: installed once from the lock beside this file, run, and read.

It takes whole requirement sets where it can, since every start of Node.js costs more than a scenario. Nothing
here knows what a scenario is about, and there is no list of failures to expect.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from tests.clients import npm
from tests.clients.npm import node
from tests.servers.launch import argv

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REVISIONS = ("2025-11-25", "2026-07-28")
EXTENSIONS = "extensions"
"""The name given here to the server scenarios that belong to no revision's set."""
AUTH = "auth/"
"""What the names of scenarios begin with that want an authorization server behind the server."""
_SECONDS = 110
"""Longest run of a whole set; a set takes a quarter of a minute."""
_SIDE_LINE = re.compile(r"^  - (\S+) \[(.*)\]$")

Json = dict[str, Any]
Side = Literal["server", "client"]


def installed() -> Path:
    """Install what the lock names, once, and give the directory of the suite."""
    return npm.installed("conformance", HERE) / "node_modules/@modelcontextprotocol/conformance"


def command(*arguments: str, bringing: bool = False) -> list[str]:
    """Give the command line that runs the suite, where told so with a token in each of its requests."""
    loaded = ["--import", str(npm.installed("conformance", HERE) / "token.mjs")] if bringing else []
    return [node()[0], *loaded, str(installed() / "dist/index.js"), *arguments]


@functools.cache
def known() -> Mapping[str, Mapping[str, str]]:
    """Give every scenario the suite has, by side (`server`, `client`), with the revisions that it is for."""
    done = subprocess.run(command("list"), capture_output=True, text=True, timeout=60, check=True)
    found: dict[str, dict[str, str]] = {}
    for line in done.stdout.splitlines():
        if line.endswith(":"):
            side = {"Server": "server", "Client": "client"}.get(line.partition(" ")[0], "authorization")
            here = found.setdefault(side, {})
        elif match := _SIDE_LINE.match(line):
            here[match[1]] = match[2]
    return found


@functools.cache
def wanted(revision: str, side: Side) -> tuple[str, ...]:
    """Give the scenarios that the suite runs for a revision, those it does not score among them."""
    text = (installed() / f"requirements/{revision}.yaml").read_text()
    whole = yaml.safe_load(text)
    return (*whole[side], *(each["scenario"] for each in whole["not_scored"] if each["leg"] == side))


def extensions() -> tuple[str, ...]:
    """Give the server scenarios that are in no revision's set."""
    asked = {name for revision in REVISIONS for name in wanted(revision, "server")}
    return tuple(name for name in known()["server"] if name not in asked)


def server_scenarios() -> list[tuple[str, str]]:
    """Give every server scenario with the set that it is run in."""
    sets = [(revision, name) for revision in REVISIONS for name in wanted(revision, "server")]
    return sets + [(EXTENSIONS, name) for name in extensions()]


def vouched_scenarios() -> list[tuple[str, str]]:
    """Give the server scenarios that are run with a token too."""
    return [(which, name) for which, name in server_scenarios() if which in REVISIONS]


def client_scenarios() -> list[tuple[str, str]]:
    """Give every client scenario with its revision, but those that want an authorization server."""
    return [
        (revision, name)
        for revision in REVISIONS
        for name in wanted(revision, "client")
        if not name.startswith(AUTH)
    ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one scenario."""

    scenario: str
    checks: Sequence[Json]
    said: str = ""
    """What the suite and, on the client's side, our driver wrote."""
    status: int = 0
    """The status with which the suite ended, where it ran this scenario alone."""

    def of(self, *statuses: str) -> list[Json]:
        """Give the checks that ended in one of these ways."""
        return [each for each in self.checks if each["status"] in statuses]

    @property
    def passed(self) -> int:
        """How many checks were met."""
        return len(self.of("SUCCESS"))

    @property
    def failed(self) -> int:
        """How many were not; a scenario without a check has failed."""
        return len(self.of("FAILURE")) if self.checks else 1

    def told(self) -> str:
        """Give what went wrong, for whoever reads a failed test."""
        lines = [f"{each['id']}: {each.get('errorMessage')}" for each in self.of("FAILURE", "WARNING")]
        return "\n".join([*(lines or ["no check was made"] * (not self.checks)), self.said[-3000:]])


def read(place: Path, scenario: str, prefix: str = "", said: str = "", status: int = 0) -> Outcome:
    """Read what the suite wrote of one scenario; no checks where it wrote nothing."""
    begin = f"{prefix}{scenario.replace('/', '-')}-20"
    found = [each for each in place.glob("**/checks.json") if each.parent.name.startswith(begin)]
    checks = json.loads(found[0].read_text()) if found else []
    for name in ("stdout.txt", "stderr.txt"):
        for each in found:
            if (more := each.parent / name).exists():
                said += more.read_text()
    return Outcome(scenario, checks, said, status)


@dataclass
class Run:
    """One process of the suite."""

    place: Path
    arguments: Sequence[str]
    token: str = ""
    """Brought with each request."""
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True)
        with (self.place / "said").open("wb") as said:
            self.process = subprocess.Popen(
                command(*self.arguments, "-o", str(self.place), bringing=bool(self.token)),
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=ROOT,
                env={**os.environ, "TIDEGATE_TEST_TOKEN": self.token},
            )  # fmt: skip

    def ended(self) -> tuple[str, int]:
        """Wait for its end, and give what it said and its status."""
        try:
            status = self.process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        return (self.place / "said").read_text(errors="replace"), status


class ServerRuns:
    """The suite at work on one URL as a client, all sets at once. With a token it is the sets of the revisions alone."""

    def __init__(self, url: str, place: Path, token: str = "") -> None:
        asked = ["server", "--url", url]
        self.place = place
        self.runs = {
            revision: [Run(place / revision, [*asked, "--requirements", revision], token)]
            for revision in REVISIONS
        }
        self.runs[EXTENSIONS] = [
            Run(place / EXTENSIONS / name, [*asked, "--scenario", name])
            for name in (() if token else extensions())
        ]

    def close(self) -> None:
        """End what still runs."""
        for run in (each for runs in self.runs.values() for each in runs):
            run.process.kill()
            run.process.wait()

    def outcome(self, which: str, scenario: str) -> Outcome:
        """Give what came of a scenario of a set, when the set is through."""
        said = "".join(run.ended()[0] for run in self.runs[which]) if which == EXTENSIONS else ""
        for run in self.runs[which]:
            run.ended()
        return read(self.place / which, scenario, "server-", said)


class ClientRuns:
    """The suite at work as a server for a client command, two scenarios at once, while other things are done."""

    ABREAST = 2

    def __init__(self, client: str, place: Path) -> None:
        self.client = client
        self.place = place
        self.pool = ThreadPoolExecutor(self.ABREAST, "suite")
        self.coming = {key: self.pool.submit(self._run, *key) for key in client_scenarios()}

    def outcome(self, revision: str, scenario: str) -> Outcome:
        """Give what came of a scenario, when it is through."""
        return self.coming[revision, scenario].result(_SECONDS)

    def close(self) -> None:
        """Start no more of them, and wait for those that run."""
        self.pool.shutdown(cancel_futures=True)

    def _run(self, revision: str, scenario: str) -> Outcome:
        asked = ["client", "--command", self.client, "--scenario", scenario, "--spec-version", revision]
        run = Run(self.place / revision / scenario, [*asked, "--timeout", "60000"])
        said, status = run.ended()
        return read(run.place, scenario, "", said, status)


@contextlib.contextmanager
def fixture() -> Iterator[str]:
    """Run the server that passes every scenario when it is asked directly, and give its URL."""
    process = subprocess.Popen(argv("conformance", "--http"), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        word, _, url = process.stdout.readline().strip().partition(" ")
        if word != "URL":
            raise RuntimeError(f"the fixture ended with status {process.wait(10)} before it listened")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
