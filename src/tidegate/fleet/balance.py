"""Balance: the keys of replicas, the share of each version, and what a server is asked to do. Pure.

Replicas of a key are told apart by a number: `shared` is the first, then `shared~2`, `shared~3`; what its clients
offer comes after it (`shared~2+form`). `shared~1` names the first, and no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

_Kind = TypeVar("_Kind")


def base(key: str) -> str:
    """Give the key without the number of a replica."""
    if "~" not in key:
        return key
    name, plus, offer = key.partition("+")
    return name.partition("~")[0] + plus + offer


def number(key: str) -> int:
    """Give the number of a replica; 1 for the first."""
    digits = key.partition("+")[0].partition("~")[2]
    return int(digits) if digits.isdecimal() else 1


def numbered(key: str, replica: int) -> str:
    """Give the key of the replica of that number, `~1` written out."""
    name, plus, offer = base(key).partition("+")
    return f"{name}~{replica}{plus}{offer}"


def exact(key: str) -> str:
    """Give the key that names this replica alone."""
    return key if "~" in key else numbered(key, 1)


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of a server, and how it does. Times in seconds."""

    in_flight: int = 0
    """Calls under way now."""
    waiting: int = 0
    """Calls that wait for a place now."""
    wait: float = 0.0
    """That calls waited for a workload that was only busy: p95 of the last 30 s."""
    latency_p50: float = 0.0
    """Of the calls of the last 60 s; of a track, since it was added. 0 where there was none."""
    latency_p95: float = 0.0
    calls: int = 0
    """In the last 60 s; of a track, since it was added."""
    failures: int = 0
    """Of those, the ones that broke or timed out."""
    errors: int = 0
    """Of those, the ones that were answered with an error."""
    ready: int = 0
    """Workloads that take calls now."""
    starting: int = 0
    paused: int = 0
    last_used: float = 0.0
    """Loop time at which a call last came or went; 0 where none did."""


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the value below which that share of them is; 0 where there is none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Spread:
    """Chooses among several by shares: never by chance, so that of many each has its share to within one."""

    def __init__(self) -> None:
        self._credit: dict[object, float] = {}

    def choose(self, shares: Mapping[_Kind, float]) -> _Kind:
        """Choose the one whose turn it is. `shares` are above 0, and as large in all as they like."""
        total = sum(shares.values())
        self._credit = {each: self._credit.get(each, 0.0) + share / total for each, share in shares.items()}
        # Rounded, since the credits of equal shares differ in their last digits only.
        chosen = max(shares, key=lambda each: round(self._credit[each], 9))
        self._credit[chosen] -= 1.0
        return chosen
