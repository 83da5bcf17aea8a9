"""Records: a small file for each workload, so that what a crashed gateway left can be found and stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.workload import WorkloadIdentity

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_LARGEST = 65536


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a workload's first process. Its id counts only with its start time and boot."""

    identity: WorkloadIdentity
    pid: int | None = None
    started: int | None = None
    """Clock ticks since the machine started."""
    boot: str = ""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


def boot() -> str:
    """Name this run of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def checked(identity: WorkloadIdentity) -> str:
    """Give a workload's id, which names a file and a cgroup.

    Raises:
        RuntimeFailure: it could be a path.
    """
    if not _ID.match(identity.id):
        raise RuntimeFailure(f"{identity.id!r:.80} is no workload's id")
    return identity.id


def write(place: Path, record: Record) -> None:
    """Keep a record, whole or not at all."""
    told = {
        "labels": record.identity.labels(), "pid": record.pid, "started": record.started,
        "boot": record.boot, "facts": dict(record.facts),
    }  # fmt: skip
    file = place / f"{checked(record.identity)}.json"
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(told), encoding="utf-8")
    fresh.rename(file)


def read(place: Path, name: str) -> Record | None:
    """Give a record, or None where there is none that can be read."""
    try:
        with (place / f"{name}.json").open("rb") as opened:
            told = cast("dict[str, Any]", json.loads(opened.read(_LARGEST)))
        identity = WorkloadIdentity.from_labels(told["labels"])
        if identity is None or identity.id != name:
            return None
        return Record(identity, told["pid"], told["started"], told["boot"], told["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(place: Path, name: str) -> None:
    """Remove a record."""
    with suppress(FileNotFoundError):
        (place / f"{name}.json").unlink()


def every(place: Path) -> Iterator[Record]:
    """Give all records."""
    for file in sorted(place.glob("*.json")):
        record = read(place, file.stem)
        if record is not None:
            yield record
