"""Policy changes: what became of policies that are made of files, told to the log and kept in the journal.

Takes no policy; that is `policies`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tidegate.audit.journal import Journal
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RecordKind
from tidegate.telemetry import log

_SAID = 20
"""Mistakes that are logged."""
_FILES = 64
"""Files whose digests are recorded one by one; those of all of them make the one before and after."""


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A policy that came in force as something else than before, or was refused as that."""

    policy: str
    by: str
    """`settings` where an entry of them is new, `reload` with one of them, else `file`."""
    before: Mapping[str, str]
    """Digests of its files; empty where there was none before, or it can say none."""
    after: Mapping[str, str]
    problems: Sequence[str] = ()
    """What is wrong; it is not in force then."""


Changed = Callable[[PolicyChange], None]


def say(change: PolicyChange) -> None:
    """Log a change."""
    if change.problems:
        log().error("policy.refused", policy=change.policy, problems=list(change.problems)[:_SAID])
    elif change.by != "settings":
        log().info("policy.changed", policy=change.policy)


def keep(journal: Journal) -> Changed:
    """Give what logs a change, and records it.

    Where it cannot be recorded it is in force all the same: it may be what denies, and no call goes out then anyway.
    """

    def changed(change: PolicyChange) -> None:
        say(change)
        differing = [
            name
            for name in sorted(change.before.keys() | change.after.keys())
            if change.before.get(name) != change.after.get(name)
        ]
        fields: dict[str, object] = {
            "event": "policy_refused" if change.problems else "policy_changed",
            "policy": change.policy,
            "by": change.by,
            "before": _whole(change.before),
            "after": _whole(change.after),
            "files": {
                name: [change.before.get(name, ""), change.after.get(name, "")] for name in differing[:_FILES]
            },
        }
        if len(differing) > _FILES:
            fields["more_files"] = len(differing) - _FILES
        if change.problems:
            fields["problems"] = len(change.problems)
        try:
            journal.event(RecordKind.GATEWAY, fields)
        except JournalUnavailable as error:
            log().error("journal.unavailable", reason=str(error))

    return changed


def _whole(digests: Mapping[str, str]) -> str:
    """Give one digest of all files; of none it is empty."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest() if lines else ""
