"""Sealed values open for whom they were made, and for nothing and nobody else."""

from __future__ import annotations

import pytest

from tidegate.gateway.seal import Seal, SealBroken

KEYS = {b"aaaa": b"1" * 32, b"bbbb": b"2" * 32}


def seal(now: list[float], keys: dict[bytes, bytes] = KEYS, current: bytes = b"aaaa") -> Seal:
    """Make a seal whose clock is `now`."""
    return Seal(keys, current, lambda: now[0])


def test_a_value_opens_for_the_same_kind_and_bound_until_it_is_too_old() -> None:
    now = [1000.0]
    text = seal(now).seal("state", b"value", bound="alice /mcp echo")
    assert seal(now).open("state", text, bound="alice /mcp echo") == b"value"
    now[0] += 60.0
    assert seal(now).open("state", text, bound="alice /mcp echo", lifetime=60) == b"value"
    now[0] += 1.0
    with pytest.raises(SealBroken):
        seal(now).open("state", text, bound="alice /mcp echo", lifetime=60)


@pytest.mark.parametrize(
    ("kind", "bound"), [("task", "alice /mcp echo"), ("state", "bob /mcp echo"), ("state", "alice /mcp drop")]
)
def test_a_value_does_not_open_as_anything_or_for_anybody_else(kind: str, bound: str) -> None:
    now = [1000.0]
    text = seal(now).seal("state", b"value", bound="alice /mcp echo")
    with pytest.raises(SealBroken):
        seal(now).open(kind, text, bound=bound)


def test_a_changed_value_does_not_open() -> None:
    now = [1000.0]
    text = seal(now).seal("state", b"value", bound="b")
    for at in range(len(text) - 1):
        changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        with pytest.raises(SealBroken):
            seal(now).open("state", changed, bound="b")


@pytest.mark.parametrize("text", ["", "x", "é", "=" * 9, "A" * 200_000, "AAAA" * 8])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(SealBroken):
        seal([0.0]).open("state", text, bound="b")


def test_a_gateway_with_the_same_keys_opens_what_another_sealed_and_one_without_does_not() -> None:
    now = [1000.0]
    text = seal(now, current=b"bbbb").seal("state", b"value", bound="b")
    assert seal(now).open("state", text, bound="b") == b"value"
    with pytest.raises(SealBroken):
        seal(now, {b"aaaa": b"1" * 32}).open("state", text, bound="b")
