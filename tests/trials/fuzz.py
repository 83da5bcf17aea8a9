"""Fuzz: whatever bytes peers send are refused with an error of ours, or mean the same to a second reader.

Every reader of `tests/corpus/readers.py` is run on inputs that coverage of `tidegate.protocol` leads to (atheris,
libFuzzer), beginning with the kept ones; what reaches more than they do is kept too, where it is asked for.
Atheris is no dependency of the project: an environment of its own is made for it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tests.corpus import kept
from tests.corpus.readers import READERS
from tests.trials.parts import report

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).with_name("fuzz.txt")
SMALL = 256
"""Bytes of an input that is kept: larger ones tell a reader of the corpus nothing."""
PATIENCE = 120.0
"""Seconds that a child may take beyond its time."""

Step = tuple[str, int, int]
"""A file of the protocol's, and two of its lines, one after the other."""


@dataclass(frozen=True)
class Run:
    """What came of one reader."""

    reader: str
    seconds: float
    tried: int
    reached: int
    inputs: int
    fault: str | None = None


def interpreter() -> Path:
    """Give a Python that has atheris: an environment below .tools, made where it is missing."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    place = ROOT / ".tools" / f"fuzz-{digest}"
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        report.say(f"making {place.relative_to(ROOT)}")
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        command = [str(python), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(REQUIREMENTS)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (place / "ready").touch()
    return python


def child(python: Path, *arguments: str, seconds: float) -> tuple[int, str]:
    """Run the child to its end. What it finds besides atheris it finds where we do."""
    paths = os.pathsep.join(dict.fromkeys([str(ROOT), str(ROOT / "src"), *filter(None, sys.path)]))
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(python), "-m", "tests.trials.parts.guided", *arguments]
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, timeout=seconds + PATIENCE, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=lambda: os.nice(19) and None,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        return -1, f"did not end: {(error.output or b'')[-500:]!r}"
    return ended.returncode, ended.stdout.decode("utf-8", "replace")


def fuzz(python: Path, reader: str, place: Path, seconds: int) -> Run:
    """Fuzz one reader."""
    corpus = place / "corpus"
    corpus.mkdir(parents=True)
    for number, data in enumerate(kept.inputs(reader)):
        (corpus / f"kept-{number}").write_bytes(data)
    began = time.monotonic()
    status, said = child(python, reader, str(place), str(seconds), seconds=seconds)
    took = time.monotonic() - began
    tried = _last(r"stat::number_of_executed_units:\s+(\d+)", said) or _last(r"#(\d+)\s", said)
    reached = _last(r"\bft: (\d+)", said)
    fault = None
    if status != 0:
        inputs = sorted(each for each in place.iterdir() if each.is_file())
        shown = ", ".join(repr(each.read_bytes()[:300]) for each in inputs) or "no input"
        words = "\n".join(said.splitlines()[-40:])
        fault = f"{reader}: {shown}\n{words}"
    return Run(reader, took, tried, reached, len(list(corpus.iterdir())), fault)


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def keep(reader: str, place: Path) -> int:
    """Keep small inputs that take steps through the code which no kept one takes. Tell how many were new."""
    taken: set[Step] = set()
    for data in kept.inputs(reader):
        taken |= steps(READERS[reader], data)
    found = sorted(
        {each.read_bytes() for each in (place / "corpus").iterdir()}, key=lambda data: (len(data), data)
    )
    new: list[bytes] = []
    for data in found:
        if len(data) <= SMALL and (further := steps(READERS[reader], data) - taken):
            taken |= further
            new.append(data)
    return kept.add(reader, new, "found by coverage: each takes a way through the code that none above takes")


def steps(check: Callable[[bytes], None], data: bytes) -> set[Step]:
    """Give the steps from line to line that a check takes in the protocol's code."""
    found: set[Step] = set()

    def traced(frame: FrameType, event: str, _: object) -> Any:
        name = frame.f_code.co_filename
        if "tidegate/protocol" not in name:
            return None
        before = 0

        def line(frame: FrameType, event: str, _: object) -> Any:
            nonlocal before
            found.add((name, before, frame.f_lineno if event == "line" else -1))
            before = frame.f_lineno
            return line

        return line

    sys.settrace(traced)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return found


def told(runs: Sequence[Run], minutes: float) -> str:
    """Write the report."""
    rows = [
        (run.reader, f"{run.tried:,}", f"{run.tried / max(run.seconds, 1):,.0f}", run.reached, run.inputs)
        for run in runs
    ]
    total = sum(run.tried for run in runs)
    return "\n".join(
        [
            "# Trial: fuzz",
            "",
            (__doc__ or "").strip(),
            "",
            f"{minutes:g} minutes, one reader after the other. {report.machine()}. Run again with",
            f"`scripts/trial fuzz --minutes {minutes:g}`.",
            "",
            report.table(("reader", "inputs tried", "a second", "features reached", "inputs in hand"), rows),
            f"{total:,} inputs were tried. No check failed: each was refused with an error of ours, or was read",
            "as the second reader reads it, and what was written of it was read the same again.",
        ]
    )


def main() -> None:
    """Fuzz every reader for its share of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="how long it goes on, all readers together"
    )
    parser.add_argument("--reader", choices=list(READERS), help="only this one")
    parser.add_argument(
        "--keep", action="store_true", help="add small inputs that reach more to tests/corpus"
    )
    options = parser.parse_args()
    python = interpreter()
    chosen = [options.reader] if options.reader else list(READERS)
    seconds = max(1, round(options.minutes * 60 / len(chosen)))
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as scratch:
        for reader in chosen:
            place = Path(scratch) / reader
            runs.append(fuzz(python, reader, place, seconds))
            report.say(f"{runs[-1]}")
            if options.keep and runs[-1].fault is None:
                report.say(f"{reader}: {keep(reader, place)} inputs kept")
    report.end(told(runs, options.minutes), [run.fault for run in runs if run.fault])


if __name__ == "__main__":
    main()
