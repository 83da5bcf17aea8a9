"""Check a journal's files offline: every change, cut, swap and gap is found and located. Reads only."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from tidegate.audit import lines as form
from tidegate.audit.merkle import Tree
from tidegate.audit.segment import SegmentFile, lines, read_tip, segments, tip_path
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RECORD_VERSION, Outcome, RecordKind

_MAX_FAULTS = 200
"""Faults told one by one; beyond, they are only counted."""
_LOOKS, _LOOK = 5, 0.01
"""How often, and how many seconds apart, a half line is looked at: a `write` goes page by page."""
_INTENT, _OUTCOME, _SEGMENT = (
    RecordKind.CALL_INTENT.value,
    RecordKind.CALL_OUTCOME.value,
    RecordKind.SEGMENT.value,
)
_KINDS = frozenset(kind.value for kind in RecordKind)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was written, and where."""

    file: str
    line: int
    """Counted from 1; 0 where it is about the file as a whole."""
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


@dataclass(slots=True)
class Verdict:
    """What a check found."""

    faults: list[Fault] = field(default_factory=list[Fault])
    """In the order of the files, at most 200; `fault_count` counts them all."""
    fault_count: int = 0
    recoveries: list[Fault] = field(default_factory=list[Fault])
    """What starts after a crash recorded of themselves. No faults: they are in the chain."""
    writers: list[str] = field(default_factory=list[str])
    segments: int = 0
    records: int = 0
    intents: int = 0
    outcomes: int = 0
    unknown: int = 0
    """Outcomes that are `unknown`: the gateway ended in between."""
    open: int = 0
    """Intents without outcome."""
    roots: int = 0
    """Segments whose Merkle root is recorded and right."""
    sealed: int | None = None
    """Keyed seals that are right; None where no key was given."""

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return self.fault_count == 0

    def fault(self, file: str, line: int, what: str) -> None:
        """Note a fault."""
        self.fault_count += 1
        if len(self.faults) < _MAX_FAULTS:
            self.faults.append(Fault(file, line, what))


def verify(directory: Path, key: bytes | None = None) -> Verdict:
    """Check all journals in a directory. With the journal's key, the keyed seals too.

    Without the key, someone who can write the files and rewrites all that follows a change is not
    found; with it, they are, up to the last seal (the head of a file, or an orderly close).

    Raises:
        JournalUnavailable: the directory or a file in it cannot be read.
    """
    verdict = Verdict(sealed=None if key is None else 0)
    try:
        # Before the files: a journal in use then has at least as much as its tip says.
        tips = {tip.name.removeprefix("tip-"): read_tip(tip) for tip in sorted(directory.glob("tip-*"))}
        files = segments(directory)
        for writer, group in groupby(files, key=lambda file: file.writer):
            verdict.writers.append(writer)
            _Chain(directory, writer, key, verdict).check(list(group), tips.get(writer))
        for writer, tip in tips.items():
            if tip and writer not in verdict.writers:
                verdict.fault(f"tip-{writer}", 0, "every file of this writer is missing")
    except OSError as error:
        raise JournalUnavailable(f"the journal cannot be read: {error}") from error
    return verdict


class _Chain:
    """The files of one writer."""

    def __init__(self, directory: Path, writer: str, key: bytes | None, verdict: Verdict) -> None:
        self._directory = directory
        self._writer = writer
        self._key = key
        self._verdict = verdict
        self._next = 1
        self._hash = form.ORIGIN.encode()
        self._open: dict[int, str] = {}
        self._trees: dict[int, tuple[Tree, str]] = {}
        self._previous = 0
        self._number = 0
        self._name = ""

    def check(self, files: list[SegmentFile], tip: int | None) -> None:
        for file in files:
            self._segment(file, last=file is files[-1])
        self._name = files[-1].path.name
        if tip is None:
            self._verdict.fault(tip_path(self._directory, self._writer).name, 0, "missing or unreadable")
        elif tip >= self._next:
            self._fault(f"cut: records {self._next} to {tip} are missing after it", self._number)
        self._verdict.open += len(self._open)

    def _fault(self, what: str, line: int | None = None) -> None:
        self._verdict.fault(self._name, self._number if line is None else line, what)

    def _segment(self, file: SegmentFile, last: bool) -> None:
        self._verdict.segments += 1
        self._name, self._number = file.path.name, 0
        if file.first != self._next:
            self._gap(file.first)
        tree = Tree()
        size = 0
        for self._number, line in enumerate(lines(file.path), start=1):
            size += len(line)
            if last and not line.endswith(b"\n"):
                self._half(file.path, size)
            else:
                self._line(line)
            tree.add(line[:-1])
        if not self._number:
            self._fault("empty")
        self._trees[file.first] = tree, file.path.name
        self._previous = file.first

    def _gap(self, first: int) -> None:
        if first > self._next:
            self._fault(f"records {self._next} to {first - 1} before it are missing")
        else:
            self._fault(f"begins at {first} where {self._next} comes next")
        self._open.clear()

    def _half(self, path: Path, size: int) -> None:
        """Tell half a record that a crash left from one that is being written just now."""
        for _ in range(_LOOKS):
            if path.stat().st_size > size:
                return
            time.sleep(_LOOK)
        self._fault("torn: half a record, as a crash leaves it")

    def _line(self, line: bytes) -> None:
        parts = form.split(line)
        if parts is None:
            self._fault("not a record")
            return
        body, stated = parts
        try:
            record = form.read_line(line)
        except form.UNREADABLE:
            self._fault("not a record")
            self._hash = stated
            return
        self._verdict.records += 1
        if self._number == 1:
            self._head(record, line)
        if sha256(self._hash + body).hexdigest().encode() != stated:
            self._fault(f"changed, or not what followed record {self._next - 1}: its hash is not right")
        if record.seq != self._next:
            self._misplaced(record.seq)
        before, self._hash, self._next = self._hash, stated, record.seq + 1
        if record.writer != self._writer or record.v != RECORD_VERSION:
            self._stranger(record)
        self._kind(record, line, before)

    def _misplaced(self, seq: int) -> None:
        if seq > self._next:
            self._fault(f"records {self._next} to {seq - 1} are missing before it")
        else:
            self._fault(f"record {seq} stands where {self._next} comes next: repeated or out of order")

    def _stranger(self, record: form.Line) -> None:
        if record.writer != self._writer:
            self._fault(f"of another writer, {record.writer[:64]!r}")
        if record.v != RECORD_VERSION:
            self._fault(f"of version {record.v}, which is not known")

    def _kind(self, record: form.Line, line: bytes, before: bytes) -> None:
        kind = record.kind
        if kind == _INTENT:
            self._verdict.intents += 1
            self._open[record.seq] = record.call
        elif kind == _OUTCOME:
            self._verdict.outcomes += 1
            self._verdict.unknown += record.outcome == Outcome.UNKNOWN
            if self._open.pop(record.intent, None) != record.call:
                self._fault(f"outcome without the intent {record.intent} it is of")
        elif kind == _SEGMENT:
            try:
                self._part(record, line, before)
            except form.UNREADABLE:
                self._fault(f"no segment record of part {record.part[:64]!r}")
        elif kind not in _KINDS:
            self._fault(f"of kind {kind[:64]!r}, which is not known")

    def _part(self, record: form.Line, line: bytes, before: bytes) -> None:
        if record.part == "root":
            self._root(form.read_root(line))
        elif record.part == "close":
            closed = form.read_closed(line)
            if closed.chain.encode() != before:
                self._fault("the hash it closes with is not that of the record before")
            self._seal(closed.seq, closed.chain, closed.seal)
        elif record.part == "recovered":
            self._recovered(form.read_recovered(line))
        elif record.part != "head" or self._number != 1:
            self._fault(f"a segment record of part {record.part[:64]!r} does not belong here")

    def _head(self, record: form.Line, line: bytes) -> None:
        if record.part != "head":
            self._fault("not the head of a file")
            return
        try:
            head = form.read_head(line)
        except form.UNREADABLE:
            self._fault("not the head of a file")
            return
        if head.chain.encode() != self._hash and record.seq == self._next:
            self._fault("does not go on from the hash that the file before ends with")
        if record.seq != self._next:
            # What is missing is said already; what this file holds can be checked all the same.
            self._next = record.seq
            self._open = {seq: call for seq, call, _ in head.open}
        self._hash = head.chain.encode()
        if {seq: call for seq, call, _ in head.open} != self._open:
            self._fault("its list of open intents is not right")
        before = self._trees.get(head.previous)
        if head.previous != self._previous or (before is not None and len(before[0]) != head.count):
            self._fault(f"the file before is not the one of {head.count} records from {head.previous} on")
        self._seal(head.seq, head.chain, head.seal)

    def _seal(self, sequence: int, chain: str, seal: str) -> None:
        if self._key is None or self._verdict.sealed is None:
            return
        expected = form.seal(self._key, self._writer, sequence, chain)
        if not hmac.compare_digest(expected.encode(), seal.encode()):
            self._fault("its seal is not right: not written with this key")
        else:
            self._verdict.sealed += 1

    def _root(self, root: form.Root) -> None:
        tree, name = self._trees.get(root.first, (None, ""))
        if tree is None:
            self._fault(f"the file from record {root.first} on, whose root it keeps, is missing")
        elif len(tree) != root.count or tree.root().hex() != root.root:
            self._fault(f"the Merkle root it keeps is not that of {name}")
        else:
            self._verdict.roots += 1

    def _recovered(self, found: form.Recovered) -> None:
        said = (
            (found.cut, f"{found.cut} torn bytes were set aside in {found.file}"),
            (found.lost, f"{found.lost} records had been written and were gone"),
            (found.damaged, f"line {found.damaged} of the file it went on in was damaged"),
        )
        what = "; ".join(text for number, text in said if number)
        self._verdict.recoveries.append(Fault(self._name, self._number, f"after a crash: {what}"))
        if found.cut:
            self._side(found)

    def _side(self, found: form.Recovered) -> None:
        path = self._directory / Path(found.file).name
        digest = sha256()
        try:
            for block in _blocks(path):
                digest.update(block)
        except FileNotFoundError:
            self._fault(f"{path.name}, which it names, is missing")
            return
        if digest.hexdigest() != found.digest:
            self._fault(f"{path.name}, which it names, was changed")


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1024 * 1024):
            yield block
