"""What the store in memory does beyond the contract."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tidegate.domain.errors import StateError
from tidegate.extensions.state.memory import MEMORY, MemorySettings, MemoryState
from tidegate.ports.extension import Surroundings
from tidegate.testing.clock import VirtualClock


async def test_a_full_store_takes_no_further_key_but_changes_those_it_has() -> None:
    state = MemoryState(entries=2, clock=VirtualClock())
    await state.put("a", b"1")
    await state.put("b", b"1")
    with pytest.raises(StateError, match="2 keys"):
        await state.put("c", b"1")
    await state.put("a", b"2")
    assert await state.scan("") == [("a", b"2"), ("b", b"1")]


async def test_a_full_store_makes_room_of_what_expired() -> None:
    clock = VirtualClock()
    state = MemoryState(entries=2, clock=clock)
    await state.put("a", b"1", expires=5)
    await state.put("b", b"1")
    clock.advance(6)
    await state.put("c", b"1")
    assert [key for key, _ in await state.scan("")] == ["b", "c"]


async def test_it_is_opened_from_its_settings_and_unknown_ones_are_refused() -> None:
    async with MEMORY.open(MemorySettings(entries=1), Surroundings(Path("/nowhere"), "0" * 16)) as state:
        await state.put("a", b"1")
        with pytest.raises(StateError):
            await state.put("b", b"1")
    with pytest.raises(ValidationError):
        MemorySettings.model_validate({"entrys": 1})
