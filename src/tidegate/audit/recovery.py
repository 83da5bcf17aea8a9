"""What a writer left behind: where its chain stands, what is open, what is torn. Changes only what is torn."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from tidegate.audit import lines as form
from tidegate.audit.segment import SegmentFile, lines, segments
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RecordKind


@dataclass(slots=True)
class Left:
    """Where a writer's journal stands."""

    file: SegmentFile | None = None
    """The segment to go on in; None where there is none."""
    size: int = 0
    """Bytes of its whole records."""
    next: int = 1
    chain: str = form.ORIGIN
    open: dict[int, tuple[str, str, str]] = field(default_factory=dict[int, tuple[str, str, str]])
    """Call id and tenant, quoted as JSON, of the intents without outcome, by number."""
    rootless: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    damaged: int = 0
    """First line that is not what was written, though whole records follow it; 0 where there is none."""
    torn: int = 0
    """Bytes after the last whole record."""
    cut: int = 0
    """Bytes that were cut off, into `side`."""
    side: str = ""
    side_digest: str = ""


def look(directory: Path, writer: str) -> Left:
    """Read a writer's last segment, and set aside what a crash left torn.

    Raises:
        JournalUnavailable: a file cannot be read, or what is torn cannot be set aside.
    """
    try:
        files = segments(directory, writer)
        while files:
            left = _read(files[-1])
            if left is not None:
                if left.torn:
                    _cut(files[-1].path, left, left.size)
                return left
            # Not even a head: a crash of the machine. The whole file is what is torn.
            left = Left()
            _cut(files[-1].path, left, 0)
            files[-1].path.unlink()
            rest = look(directory, writer)
            if not rest.cut:
                rest.cut, rest.side, rest.side_digest = left.cut, left.side, left.side_digest
            return rest
        return Left()
    except OSError as error:
        raise JournalUnavailable(f"the journal cannot be opened: {error}") from error


def _read(file: SegmentFile) -> Left | None:
    left = Left(file)
    offset = 0
    for number, line in enumerate(lines(file.path), start=1):
        offset += len(line)
        parts = form.split(line)
        record = _decode(line) if parts else None
        if parts is None or record is None:
            left.damaged = left.damaged or number
            continue
        if number == 1 and not (record.part == "head" and _take_head(left, line)):
            left.damaged = 1
        body, stated = parts
        if sha256(left.chain.encode() + body).hexdigest().encode() != stated or record.seq != left.next:
            left.damaged = left.damaged or number
        left.chain, left.next, left.size = stated.decode(), record.seq + 1, offset
        _follow(left, record, line)
    if left.size == 0:
        return None
    left.torn = offset - left.size
    if left.torn and left.damaged and left.damaged > _count(file.path, left.size):
        left.damaged = 0  # Nothing whole follows: it is torn, not damaged.
    return left


def _count(path: Path, size: int) -> int:
    with path.open("rb") as file:
        return file.read(size).count(b"\n")


def _decode(line: bytes) -> form.Line | None:
    try:
        return form.read_line(line)
    except form.UNREADABLE:
        return None


def _take_head(left: Left, line: bytes) -> bool:
    try:
        head = form.read_head(line)
    except form.UNREADABLE:
        return False
    left.next, left.chain = head.seq, head.chain
    left.open = {seq: (form.quoted(call), form.quoted(tenant), "") for seq, call, tenant in head.open}
    left.rootless = list(head.rootless)
    return True


def _follow(left: Left, record: form.Line, line: bytes) -> None:
    if record.kind == RecordKind.CALL_INTENT:
        left.open[record.seq] = form.quoted(record.call), form.quoted(record.tenant), ""
    elif record.kind == RecordKind.CALL_OUTCOME:
        left.open.pop(record.intent, None)
    elif record.part == "root":
        try:
            root = form.read_root(line)
        except form.UNREADABLE:
            return
        left.rootless = [(first, count) for first, count in left.rootless if first != root.first]


def _cut(path: Path, left: Left, size: int) -> None:
    """Move what stands after `size` into a file beside, durably, then cut it off."""
    with path.open("rb") as file:
        file.seek(size)
        torn = file.read()
    side = path.with_name(f"{path.name}.torn-{size}")
    fd = os.open(side, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        written = 0
        while written < len(torn):
            written += os.write(fd, torn[written:])
        os.fsync(fd)
    finally:
        os.close(fd)
    os.truncate(path, size)
    left.cut, left.side = len(torn), side.name
    left.side_digest = sha256(torn).hexdigest()
