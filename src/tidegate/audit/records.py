"""Records of the journal that are one tenant's: what its principals did, and what became of its servers.

Reads only; proves nothing (`verify` does).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from tidegate.audit.segment import segments
from tidegate.domain.errors import JournalUnavailable

_LONGEST = 1024 * 1024
"""Bytes of a line, which is bounded by far less."""


def records_of(directory: Path, tenant: str, servers: Collection[str] = ()) -> Iterator[str]:
    """Give a tenant's records as they were written, those of each writer in their order; `servers` are its own.

    Raises:
        JournalUnavailable: the files cannot be read.
    """
    try:
        for each in sorted(segments(directory), key=lambda found: (found.path.stat().st_mtime, found.first)):
            with each.path.open("rb") as file:
                while line := file.readline(_LONGEST):
                    if line.endswith(b"\n") and _is_of(line, tenant, servers):
                        yield line.decode("utf-8", "replace").rstrip("\n")
    except OSError as error:
        raise JournalUnavailable(f"the journal cannot be read: {error.strerror}") from error


def _is_of(line: bytes, tenant: str, servers: Collection[str]) -> bool:
    try:
        record = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    whose = record.get("tenant")
    data = record.get("data")
    if whose == tenant or (whose and record.get("kind") != "admin"):
        return whose == tenant
    if not isinstance(data, dict) or record.get("kind") == "segment":
        return False
    told = cast("Mapping[str, object]", data)
    if told.get("server") in servers:
        return True  # the operator's doing, too
    return not whose and told.get("tenant") == tenant
