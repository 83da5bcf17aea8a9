"""Search: the journal's records by who, what, when and how it was decided, newest first, a page at a time.

Reads only; proves nothing (`verify` does). A page is bounded in records, in bytes and in time, and says where the next
one goes on; so a search ends, however large the journal is.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import msgspec

from tidegate.audit.find import Record
from tidegate.audit.records import as_told
from tidegate.audit.segment import SegmentFile, segments
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.principal import Principal
from tidegate.domain.record import RecordKind

MOST = 500
"""Records of a page."""
_BYTES = 4 * 1024 * 1024
"""Bytes of a page, but for its last record."""
_READ = 256 * 1024 * 1024
"""Bytes that are read for a page."""
_BLOCK = 64 * 1024
_LONGEST = 1024 * 1024
"""Bytes of a line, which is bounded by far less."""
_SLICE = 64
"""Records looked at before other threads have their turn: less than half a millisecond."""
_PLACE = re.compile(r"([A-Za-z0-9_-]{1,64})\.([0-9]{1,16})\.([0-9]{1,16})")
_KEY = re.compile(r"[0-9a-f]{32}")
ALLOWED = frozenset({RecordKind.CALL_INTENT.value, RecordKind.REQUEST.value})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; what is empty may be anything."""

    principal: str = ""
    """A subject, or a principal's key of 32 hex digits."""
    tool: str = ""
    """Pattern on `server__name`, the server's own name of the tool (or what else it is), or on the name that was asked for."""
    server: str = ""
    decision: str = ""
    """`allowed` or `refused`."""
    reason: str = ""
    """Why it was refused: the word of the error."""
    kind: str = ""
    """The kind of record."""
    call: str = ""
    since: float = 0.0
    """Unix seconds."""
    until: float = float("inf")
    tenant: str | None = None
    """Whose records, and as they may be told to it; None: everybody's."""
    servers: tuple[str, ...] = ()
    """The tenant's own."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some records."""

    lines: list[bytes]
    """Each a JSON object, newest first."""
    next: str | None
    """Where the next page begins; None where nothing is left to look at."""


def search(
    directory: Path,
    wanted: Wanted,
    most: int = MOST,
    place: str | None = None,
    *,
    expired: Callable[[], bool] = lambda: False,
) -> Page:
    """Give a page of records, from `place` on. Blocks; call it in a thread. Where `expired` says so it ends early.

    Raises:
        JournalUnavailable: the files cannot be read.
        ValueError: `place` is none that a page gave.
    """
    try:
        files = _files(directory)
        at = _begin(files, place)
        found, size, left = list[bytes](), 0, _READ
        for number, (began, file) in enumerate(files[at.number :], at.number):
            if began >= wanted.until * 1e6 or _ended(files, number) < wanted.since * 1e6:
                continue
            end = at.end if number == at.number and at.end is not None else file.path.stat().st_size
            for count, (offset, line) in enumerate(_backward(file.path, end)):
                if len(found) >= most or size >= _BYTES or left <= 0 or (count % _SLICE == 0 and expired()):
                    return Page(found, f"{file.writer}.{file.first}.{offset + len(line)}")
                if count % _SLICE == _SLICE - 1:
                    time.sleep(0.0005)
                left -= len(line)
                told = _told(line, wanted)
                if told is not None:
                    found.append(told)
                    size += len(told)
        return Page(found, None)
    except OSError as error:
        raise JournalUnavailable(f"the journal cannot be read: {error.strerror}") from error


# -- files ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _At:
    number: int
    end: int | None = None


def _files(directory: Path) -> list[tuple[int, SegmentFile]]:
    """Give the files with the time (microseconds) that each begins at, newest first. That never changes."""
    found = [(_time(each.path), each) for each in segments(directory)]
    return sorted(found, key=lambda each: (each[0], each[1].first, each[1].writer), reverse=True)


def _time(path: Path) -> int:
    with path.open("rb") as file:
        record = _record(file.readline(_LONGEST))
    when = None if record is None else record.get("time")
    return when if isinstance(when, int) else 0


def _ended(files: list[tuple[int, SegmentFile]], number: int) -> float:
    """Give when a file ended: when the next one of its writer began."""
    writer = files[number][1].writer
    later = (began for began, each in reversed(files[:number]) if each.writer == writer)
    return next(later, float("inf"))


def _begin(files: list[tuple[int, SegmentFile]], place: str | None) -> _At:
    if place is None:
        return _At(0)
    match = _PLACE.fullmatch(place)
    if match is None:
        raise ValueError("that is no place in the journal")
    for number, (_, each) in enumerate(files):
        if (each.writer, each.first) == (match[1], int(match[2])):
            return _At(number, min(int(match[3]), each.path.stat().st_size))
    raise ValueError("that place in the journal is there no more")


def _backward(path: Path, end: int) -> Iterator[tuple[int, bytes]]:
    """Give the lines of a file that end at or before `end`, last first, each with where it begins."""
    with path.open("rb", buffering=0) as file:
        rest = b""
        """The end of a line of which the beginning was not read yet."""
        whole = False
        """Whether what was read last ended with a line."""
        while end > 0:
            begin = max(0, end - _BLOCK)
            block = os.pread(file.fileno(), end - begin, begin) + rest
            if not whole:  # the last line may be half written
                block = block[: block.rfind(b"\n") + 1]
                whole = bool(block)
            cut = block.find(b"\n") + 1 if begin else 0
            rest, lines = block[:cut], block[cut:]
            if len(rest) > _LONGEST:
                rest = b"\n"
            at = begin + len(block)
            for line in reversed(lines.split(b"\n")[:-1]):
                at -= len(line) + 1
                yield at, line + b"\n"
            end = begin


# -- records --------------------------------------------------------------------------------------


def _record(line: bytes) -> Record | None:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _told(line: bytes, wanted: Wanted) -> bytes | None:
    """Give a record as it is told, where it is looked for: by what is told of it, and nothing else."""
    record = _record(line)
    if record is None:
        return None
    told = record if wanted.tenant is None else as_told(record, wanted.tenant, wanted.servers)
    if told is None or not _fits(told, wanted):
        return None
    return line.rstrip(b"\n") if told is record else msgspec.json.encode(told)


def _fits(record: Record, wanted: Wanted) -> bool:
    when, kind = record.get("time"), record.get("kind")
    if not isinstance(when, int) or not wanted.since * 1e6 <= when < wanted.until * 1e6:
        return False
    if wanted.kind not in ("", kind) or wanted.reason not in ("", record.get("reason")):
        return False
    if wanted.decision and not (
        kind in ALLOWED if wanted.decision == "allowed" else kind == RecordKind.REFUSED.value
    ):
        return False
    data = _mapping(record.get("data"))
    if wanted.call and wanted.call not in (record.get("call"), data.get("call")):
        return False
    if wanted.principal and not _is_by(record, wanted.principal):
        return False
    target = _mapping(data.get("target"))
    server = record.get("server") or target.get("server") or data.get("server")
    if wanted.server not in ("", server):
        return False
    return not wanted.tool or _is_for(record, data, target, wanted.tool)


def _is_by(record: Record, principal: str) -> bool:
    subject = record.get("subject")
    if subject == principal:
        return True
    if not isinstance(subject, str) or not _KEY.fullmatch(principal):
        return False
    return Principal(str(record.get("tenant")), str(record.get("issuer")), subject).key == principal


def _is_for(record: Record, data: Record, target: Record, pattern: str) -> bool:
    own = record if "server" in record else target
    names = (f"{own.get('server')}__{own.get('name')}", record.get("shown"), data.get("name"))
    return any(isinstance(name, str) and fnmatchcase(name, pattern) for name in names)


def _mapping(value: object) -> Record:
    return cast("Record", value) if isinstance(value, dict) else {}
