"""A writer that is killed in the middle, again and again, loses nothing that it said it kept."""

import subprocess
import sys
import time
from pathlib import Path

from tidegate.audit.journal import Journal
from tidegate.audit.verify import verify

KEY = bytes(32)

WRITER = """
import sys, time
from pathlib import Path
from tidegate.audit.journal import Journal
from tidegate.domain.principal import Principal
from tidegate.domain.record import Outcome
from tidegate.domain.target import Decision, Kind, Target

journal = Journal.open(Path(sys.argv[1]), key=bytes(32), writer="w", segment_size=40_000, clock=time.time)
who, what, yes = Principal("default", "key", "a"), Target("s", Kind.TOOL, "t" * 150), Decision(True, "r")
print("ready", flush=True)
waiting = []
for number in range(10**9):
    waiting.append(journal.intent(
        call_id=f"{number:08d}", principal=who, endpoint="/mcp", target=what, shown="s__t", decision=yes,
        workload="w", arguments=b"x" * (number % 999), client="c", revision="r"))
    print(waiting[-1].sequence, flush=True)
    if len(waiting) > 7:
        journal.outcome(waiting.pop(number % 7), Outcome.OK, size=1, duration_us=1)
"""


def write_and_kill(directory: Path, after: float) -> int:
    """Run a writer for a while, kill it, and give the last number it said it had kept."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        end, said = time.monotonic() + after, 0
        while time.monotonic() < end:
            said = int(process.stdout.readline())
    finally:
        process.kill()
        rest = process.stdout.read()
        process.stdout.close()
        process.wait(10)
    whole = [int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
    return max([said, *whole])


def test_killed_again_and_again_it_keeps_all_it_said_and_the_chain_holds(tmp_path: Path) -> None:
    for number in range(8):
        said = write_and_kill(tmp_path, 0.02 + number * 0.023)
        Journal.open(tmp_path, key=KEY, writer="w", segment_size=40_000, clock=time.time).close()
        verdict = verify(tmp_path, KEY)
        assert verdict.ok, verdict.faults
        assert verdict.records >= said
        assert verdict.open == 0
        assert verdict.unknown >= (number + 1) * 7
        assert verdict.intents == verdict.outcomes
    assert verdict.segments > 8


def test_what_a_killed_writer_left_verifies_before_anyone_recovers_it(tmp_path: Path) -> None:
    said = write_and_kill(tmp_path, 0.2)
    verdict = verify(tmp_path, KEY)
    # A write is whole or not there for a killed process, so not even a torn line is to be seen.
    assert verdict.ok, verdict.faults
    assert verdict.records >= said
    assert 7 <= verdict.open <= 9
