"""Find what the journal has of one call, by the id that an error names. Reads only; proves nothing (`verify` does)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec

from tidegate.audit.segment import SegmentFile, segments
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RecordKind

Record = Mapping[str, Any]
"""A record of the journal, as `docs/journal.md` lists its fields."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BLOCK = 1024 * 1024
"""Bytes searched at a stretch: less than a millisecond in which the loop's thread may have to wait."""
MOST = 64 * 1024**3
"""Bytes that are searched, newest first: a journal of hundreds of millions of records."""
_LONGEST = 256 * 1024
"""Bytes of a line, which is bounded by far less."""
_MOST_FOUND = 256
_DECISIVE = (RecordKind.REFUSED.value, RecordKind.CALL_INTENT.value, RecordKind.REQUEST.value)


@dataclass(slots=True)
class Kept:
    """What the journal has of a call."""

    decisive: Record | None = None
    """What says whether it was allowed: the refusal, else the intent, else the request."""
    outcome: str = ""
    """What came of it, where it went out and that is known."""
    records: list[Record] = field(default_factory=list[Record])


def is_id(text: str) -> bool:
    """Tell whether a text can be the id of a call."""
    return _ID.fullmatch(text) is not None


def find(
    directory: Path, call: str, expired: Callable[[], bool] = lambda: False, most: int = MOST
) -> Kept | None:
    """Find a call's records, in the newest files first; None where there are none. Blocks; call it in a thread.

    `expired` is asked again and again whether to give up.

    Raises:
        JournalUnavailable: the files cannot be read, or it took too long.
    """
    if not is_id(call) or not directory.is_dir():
        return None
    needle = f'"call":"{call}"'.encode()
    kept, left = Kept(), most
    try:
        for each in _newest_first(directory):
            left -= each.path.stat().st_size
            for line in _lines_with(each.path, needle, expired):
                _take(kept, line, call)
            # An intent may stand in one file and its outcome in the next, which was read before it.
            if kept.decisive is not None or left < 0:
                break
    except OSError as error:
        raise JournalUnavailable(f"the journal cannot be read: {error.strerror}") from error
    return kept if kept.decisive is not None else None


def _newest_first(directory: Path) -> list[SegmentFile]:
    return sorted(segments(directory), key=lambda each: (each.path.stat().st_mtime, each.first), reverse=True)


def _lines_with(path: Path, needle: bytes, expired: Callable[[], bool]) -> Iterator[bytes]:
    """Give the lines of a file that hold something, in their order."""
    rest = b""
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            if expired():
                raise JournalUnavailable("the journal is too large to be searched in time")
            whole, end, rest_after = (rest + block).rpartition(b"\n")
            if not end:
                rest = rest_after[-_LONGEST:]
                continue
            rest = rest_after
            at = whole.find(needle)
            while at >= 0:
                begin, stop = whole.rfind(b"\n", 0, at) + 1, whole.find(b"\n", at)
                yield whole[begin : stop if stop >= 0 else len(whole)]
                at = whole.find(needle, stop) if stop >= 0 else -1


def _take(kept: Kept, line: bytes, call: str) -> None:
    try:
        record = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    data = record.get("data")
    named = cast("Record", data).get("call") if isinstance(data, dict) else record.get("call")
    if named != call or len(kept.records) >= _MOST_FOUND:
        return
    kept.records.append(record)
    kind = record.get("kind")
    if kind == RecordKind.CALL_OUTCOME.value:
        kept.outcome = str(record.get("outcome", ""))
    elif kind in _DECISIVE and (
        kept.decisive is None or _DECISIVE.index(kind) <= _DECISIVE.index(str(kept.decisive["kind"]))
    ):
        kept.decisive = record
