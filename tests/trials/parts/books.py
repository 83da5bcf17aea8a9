"""The books: whether every call that a client made is what the journal says of it, and the other way round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.trials.parts.callers import BROKEN_OFF, NOBODY, Caller, Made

Json = dict[str, Any]
FITS = {
    "ok": {"ok"},
    "tool_error": {"tool_error"},
    "-31002": {"failed", "unknown"},
    "-31004": {"timeout"},
    "-31008": {"cancelled"},
}
"""Outcomes that go with what came of a call that went out."""


@dataclass(slots=True)
class Books:
    """What the comparison found."""

    calls: int = 0
    intents: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    never_arrived: int = 0
    """Calls that were broken off before the gateway recorded anything of them."""
    faults: list[str] = field(default_factory=list[str])


def balance(callers: Sequence[Caller], records: Sequence[Json]) -> Books:
    """Compare every call with the journal's records."""
    books = Books()
    intents = {each["trace"]: each for each in records if each["kind"] == "call.intent" and "trace" in each}
    refused = {
        each["data"]["call"] for each in records if each["kind"] == "refused" and "call" in each["data"]
    }
    outcomes: dict[int, list[str]] = {}
    for each in records:
        if each["kind"] == "call.outcome":
            outcomes.setdefault(each["intent"], []).append(each["outcome"])
            books.outcomes[each["outcome"]] += 1
    books.intents = len(intents)
    for intent in intents.values():
        came = outcomes.get(intent["seq"], [])
        if len(came) != 1:
            books.faults.append(f"intent {intent['seq']} has {len(came)} outcomes")
    for caller in callers:
        for made in caller.made:
            books.calls += 1
            intent = intents.pop(made.trace, None)
            fault = _compare(made, intent, outcomes, refused, books)
            if fault:
                books.faults.append(f"{caller.name} {made.server}__{made.tool} {made.came}: {fault}")
    books.faults += [f"intent {each['seq']} belongs to no call" for each in intents.values()]
    return books


def _compare(
    made: Made, intent: Json | None, outcomes: dict[int, list[str]], refused: set[str], books: Books
) -> str | None:
    if made.came == "wrong":
        return made.note
    if made.came == NOBODY:
        return None if intent is None else "nobody was there, and yet it is recorded"
    if intent is None:
        if made.came == BROKEN_OFF:
            books.never_arrived += 1
            return None
        if made.call_id is not None and made.call_id in refused:
            return None
        return f"neither an intent nor a refusal of it is recorded ({made.note})"
    (outcome, *_) = outcomes.get(intent["seq"], ["none"])
    expected = FITS.get(made.came)
    if expected is not None and outcome not in expected:
        return f"the journal says {outcome} ({made.note})"
    return None
