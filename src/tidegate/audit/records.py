"""Records of the journal that are one tenant's: what its principals did, and what became of its servers.

Reads only; proves nothing (`verify` does). What was denied because it is another's is told as the client was told it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from tidegate.audit.find import Kept, Record
from tidegate.audit.segment import segments
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RecordKind

_OTHERS = frozenset({"target", "rule", "reads", "because"})
"""What a refusal says of something that is another tenant's."""
_LONGEST = 1024 * 1024
"""Bytes of a line, which is bounded by far less."""


def records_of(directory: Path, tenant: str, servers: Collection[str] = ()) -> Iterator[str]:
    """Give a tenant's records as they were written, but for what names other tenants; those of each writer in their order; `servers` are its own.

    Raises:
        JournalUnavailable: the files cannot be read.
    """
    try:
        for each in sorted(segments(directory), key=lambda found: (found.path.stat().st_mtime, found.first)):
            with each.path.open("rb") as file:
                while line := file.readline(_LONGEST):
                    told = _told(line, tenant, servers) if line.endswith(b"\n") else None
                    if told is not None:
                        yield told.decode("utf-8", "replace").rstrip("\n")
    except OSError as error:
        raise JournalUnavailable(f"the journal cannot be read: {error.strerror}") from error


def _told(line: bytes, tenant: str, servers: Collection[str]) -> bytes | None:
    """Give a line as the tenant may have it; None where it is not the tenant's."""
    try:
        record = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    told = as_told(record, tenant, servers)
    return line if told is record else None if told is None else msgspec.json.encode(told)


def as_told(record: Record, tenant: str, servers: Collection[str]) -> Record | None:
    """Give a record as a tenant may have it, the very same where it may have all of it; None where it is not the tenant's."""
    if not _is_of(record, tenant, servers):
        return None
    if record.get("kind") != RecordKind.REFUSED.value:
        return record
    # Without its hash: what is left is not always what was hashed, and of which it is not must not be told.
    told = {key: record[key] for key in record if key != "hash"}
    data = record.get("data")
    rule = cast("Mapping[str, object]", data).get("rule") if isinstance(data, dict) else None
    if not isinstance(rule, str) or not rule.startswith("tenants."):
        return told
    if rule.startswith(f"tenants.{tenant}.roles.") and " " in rule:
        return told  # of a role of its own: no tenant's name holds a blank
    kept = {key: value for key, value in cast("Mapping[str, object]", data).items() if key not in _OTHERS}
    return {**told, "data": kept}


def kept_for(kept: Kept, tenant: str, servers: Collection[str]) -> Kept | None:
    """Give what the journal has of a call as the tenant may have it whose principal made it; None where it is another's."""
    decisive = kept.decisive
    if decisive is None or decisive.get("tenant") != tenant:
        return None
    told = [each for record in kept.records if (each := as_told(record, tenant, servers)) is not None]
    return Kept(as_told(decisive, tenant, servers), kept.outcome, told)


def _is_of(record: Mapping[str, Any], tenant: str, servers: Collection[str]) -> bool:
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
