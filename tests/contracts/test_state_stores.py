"""The stores pass the contract of `ports.state`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tidegate.extensions.state.memory import MemoryState
from tidegate.extensions.state.sqlite import SqliteState
from tidegate.ports.state import State
from tidegate.testing.clock import VirtualClock
from tidegate.testing.state_contract import StateContract


class _Clocked(StateContract):
    @pytest.fixture(autouse=True)
    def _clock(self) -> None:
        self.clock = VirtualClock()

    def lapse(self, state: State) -> None:
        self.clock.advance(11)


class TestMemoryState(_Clocked):
    @pytest.fixture
    async def state(self) -> State:
        return MemoryState(clock=self.clock)


class TestSqliteState(_Clocked):
    @pytest.fixture
    async def state(self, tmp_path: Path) -> AsyncIterator[State]:
        state = SqliteState(tmp_path / "state.sqlite", clock=self.clock)
        await state.open()
        yield state
        await state.close()
