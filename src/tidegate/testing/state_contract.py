"""What every `State` does. A store is right where a subclass of `StateContract` passes.

    class TestMemory(StateContract):
        @pytest.fixture
        async def state(self): ...

`lapse(state)` lets more than ten seconds pass for a store whose clock the tests turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tidegate.domain.errors import StateError
from tidegate.ports.state import State

DEADLINE = 5.0


async def next_of(changes: AsyncIterator[str]) -> str:
    """Give the next change, or fail after a deadline."""
    return await asyncio.wait_for(anext(changes), DEADLINE)


class StateContract:
    """The behaviour of a store. Subclasses give the fixture `state`, empty, and say how time passes."""

    def lapse(self, state: State) -> None:
        """Let eleven seconds pass for the store."""
        raise NotImplementedError

    async def test_what_was_never_put_is_absent(self, state: State) -> None:
        assert await state.get("a") is None

    async def test_what_was_put_is_there_byte_for_byte(self, state: State) -> None:
        await state.put("a/ü", b"\x00\xff\n")
        assert await state.get("a/ü") == b"\x00\xff\n"

    async def test_a_value_may_be_empty_and_is_not_absent(self, state: State) -> None:
        await state.put("a", b"")
        assert await state.get("a") == b""

    async def test_the_last_put_counts(self, state: State) -> None:
        await state.put("a", b"1")
        await state.put("a", b"2")
        assert await state.get("a") == b"2"

    async def test_none_deletes_and_deleting_nothing_is_no_mistake(self, state: State) -> None:
        await state.put("a", b"1")
        await state.put("a", None)
        await state.put("a", None)
        assert await state.get("a") is None

    async def test_a_value_is_gone_when_it_expires(self, state: State) -> None:
        await state.put("a", b"1", expires=10)
        assert await state.get("a") == b"1"
        self.lapse(state)
        assert await state.get("a") is None
        assert await state.scan("") == []

    async def test_a_put_without_expiry_takes_an_earlier_expiry_away(self, state: State) -> None:
        await state.put("a", b"1", expires=10)
        await state.put("a", b"2")
        self.lapse(state)
        assert await state.get("a") == b"2"

    async def test_set_only_where_it_is_as_expected(self, state: State) -> None:
        assert not await state.compare_and_set("a", b"1", b"2")
        assert await state.compare_and_set("a", None, b"1")
        assert not await state.compare_and_set("a", None, b"2")
        assert await state.compare_and_set("a", b"1", b"2")
        assert await state.get("a") == b"2"
        assert await state.compare_and_set("a", b"2", None)
        assert await state.get("a") is None

    async def test_what_expired_counts_as_absent_when_compared(self, state: State) -> None:
        await state.put("a", b"1", expires=10)
        self.lapse(state)
        assert not await state.compare_and_set("a", b"1", b"2")
        assert await state.compare_and_set("a", None, b"2", expires=10)
        self.lapse(state)
        assert await state.get("a") is None

    async def test_of_many_that_compare_at_once_one_wins(self, state: State) -> None:
        tries = (state.compare_and_set("a", None, bytes([number])) for number in range(20))
        assert sum(await asyncio.gather(*tries)) == 1

    async def test_a_scan_gives_what_begins_with_the_prefix_in_order(self, state: State) -> None:
        for key in ("b/2", "a", "b/1", "b", "b0", "B/1", "b/_", "b/%"):
            await state.put(key, key.encode())
        found = await state.scan("b/")
        assert found == [(key, key.encode()) for key in ("b/%", "b/1", "b/2", "b/_")]

    async def test_a_scan_takes_the_prefix_as_it_is(self, state: State) -> None:
        await state.put("a%b", b"1")
        await state.put("axb", b"2")
        assert await state.scan("a%") == [("a%b", b"1")]

    async def test_a_watch_tells_puts_and_deletes_under_its_prefix(self, state: State) -> None:
        changes = state.watch("k/")
        await state.put("other", b"1")
        await state.put("k/1", b"1")
        assert await next_of(changes) == "k/1"
        await state.put("k/1", None)
        assert await next_of(changes) == "k/1"
        await state.compare_and_set("k/2", None, b"1")
        assert await next_of(changes) == "k/2"

    async def test_a_watch_tells_nothing_of_before_it_began(self, state: State) -> None:
        await state.put("k/1", b"1")
        changes = state.watch("k/")
        await state.put("k/2", b"1")
        assert await next_of(changes) == "k/2"

    async def test_every_watch_is_told(self, state: State) -> None:
        watches = [state.watch("k/") for _ in range(3)]
        await state.put("k/1", b"1")
        assert [await next_of(watch) for watch in watches] == ["k/1"] * 3

    async def test_a_set_that_was_not_made_is_not_told(self, state: State) -> None:
        changes = state.watch("k/")
        await state.compare_and_set("k/1", b"not there", b"1")
        await state.put("k/2", b"1")
        assert await next_of(changes) == "k/2"

    @pytest.mark.parametrize("key", ["", "k" * 513, "ü" * 257])
    async def test_a_key_out_of_bounds_is_refused(self, state: State, key: str) -> None:
        with pytest.raises(StateError):
            await state.put(key, b"1")
        with pytest.raises(StateError):
            await state.compare_and_set(key, None, b"1")

    async def test_a_value_over_its_bound_is_refused(self, state: State) -> None:
        await state.put("a", bytes(1024 * 1024))
        with pytest.raises(StateError):
            await state.put("a", bytes(1024 * 1024 + 1))
        assert await state.get("a") == bytes(1024 * 1024)
