"""The instructions in docs/journal.md for checking by hand are right as they stand there."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidegate.audit.journal import Journal
from tidegate.domain.principal import Principal
from tidegate.domain.record import Outcome, RecordKind
from tidegate.domain.target import Decision, Kind, Target

DOCUMENT = (Path(__file__).parents[3] / "docs" / "journal.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    journal = Journal.open(tmp_path, key=bytes(32), writer="gw", segment_size=4000, clock=time.time)
    who, what, yes = Principal("d", "key", "zoë"), Target("s", Kind.TOOL, "日本"), Decision(True, "r")
    for number in range(20):
        intent = journal.intent(
            call_id=f"c{number}", principal=who, endpoint="/mcp", target=what, shown="s__t", decision=yes,
            workload="w", arguments=b"{}", client="c", revision="r", trace="t", credential="k", peer="p",
        )  # fmt: skip
        journal.outcome(intent, Outcome.ERROR, code=-1, size=1, duration_us=1)
    journal.event(RecordKind.GATEWAY, {"what": "stopped"})
    journal.close()
    return tmp_path


def test_ten_lines_of_python_check_the_chain(directory: Path) -> None:
    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", block("python"), str(directory)], capture_output=True, text=True, timeout=30
        )  # fmt: skip

    done = check()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("right: ")
    path = sorted(directory.glob("journal-*.jsonl"))[1]
    path.write_bytes(path.read_bytes().replace(b'"call":"c9"', b'"call":"c8"', 1))
    assert check().returncode != 0


def test_a_shell_checks_one_line(directory: Path) -> None:
    done = subprocess.run(
        ["sh", "-ec", block("sh")], cwd=directory, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    second = sorted(directory.glob("journal-*.jsonl"))[0].read_text().splitlines()[1]
    assert done.stdout.split()[0] == json.loads(second)["hash"]


def test_every_field_that_is_written_is_explained(directory: Path) -> None:
    explained = set(re.findall(r"`([a-z_]+)`", DOCUMENT))
    written = {
        name
        for path in directory.glob("journal-*.jsonl")
        for line in path.read_text().splitlines()
        for name in json.loads(line)
    }
    assert written - explained == set()
    assert {kind.value for kind in RecordKind} <= set(re.findall(r"`([a-z._]+)`", DOCUMENT))
    assert {outcome.value for outcome in Outcome} <= explained
