"""The files of a journal: their names, reading them, and the Merkle root of one. Nothing is written here."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tidegate.audit.merkle import Tree
from tidegate.domain.errors import JournalUnavailable

_NAME = re.compile(r"journal-(?P<writer>[A-Za-z0-9_-]{1,64})-(?P<first>[0-9]{16})\.jsonl")
_WRITER = re.compile(r"[A-Za-z0-9_-]{1,64}")
TIP_DIGITS = 20
_SLICE = 256
"""Lines hashed at a stretch: a third of a millisecond in which the loop's thread may have to wait."""


@dataclass(frozen=True, slots=True, order=True)
class SegmentFile:
    """One file of a writer's journal."""

    writer: str
    first: int
    path: Path


def check_writer(writer: str) -> None:
    """Refuse a name that cannot be part of a file's name.

    Raises:
        ValueError: it has other characters than letters, digits, `-` and `_`, or too many.
    """
    if not _WRITER.fullmatch(writer):
        raise ValueError(f"a journal's writer is 1 to 64 of [A-Za-z0-9_-], not {writer!r}")


def segment_path(directory: Path, writer: str, first: int) -> Path:
    """Give the path of the file whose first record has the number `first`."""
    return directory / f"journal-{writer}-{first:016d}.jsonl"


def tip_path(directory: Path, writer: str) -> Path:
    """Give the path of the file that is locked by the writer and says how far it wrote."""
    return directory / f"tip-{writer}"


def segments(directory: Path, writer: str | None = None) -> list[SegmentFile]:
    """List the files of a journal, by writer and number."""
    found: list[SegmentFile] = []
    for path in directory.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and writer in (None, match["writer"]):
            found.append(SegmentFile(match["writer"], int(match["first"]), path))
    return sorted(found)


def read_tip(path: Path) -> int | None:
    """Give the number a writer's tip says, or None where it says none."""
    try:
        text = path.read_bytes()[:TIP_DIGITS]
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None


def lines(path: Path) -> Iterator[bytes]:
    """Read a file line by line, each with its line end; the last may lack it."""
    with path.open("rb", buffering=256 * 1024) as file:
        yield from file


def root_of(path: Path, count: int) -> str:
    """Compute the Merkle root of a file of `count` records, in slices that let other threads run.

    Raises:
        JournalUnavailable: the file cannot be read or does not have that many lines.
    """
    tree = Tree()
    try:
        for line in lines(path):
            tree.add(line[:-1])
            if len(tree) % _SLICE == 0:
                # Gives the interpreter away: a thread that only computes would hold the loop's up.
                time.sleep(0.0005)
    except OSError as error:
        raise JournalUnavailable(f"{path.name} cannot be read: {error.strerror}") from error
    if len(tree) != count:
        raise JournalUnavailable(f"{path.name} has {len(tree)} records where {count} were written")
    return tree.root().hex()
