"""The volumes of this state directory's servers, for commands beside a gateway that may run. Starts nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from tidegate.assemble.plant import open_runtime, surroundings
from tidegate.domain.errors import RuntimeFailure
from tidegate.ports.runtime import KeepsVolumes
from tidegate.settings import Settings
from tidegate.state_directory import StateDirectory

_RUNTIME = "docker"
"""The one that keeps volumes."""


@asynccontextmanager
async def open_volumes(settings: Settings) -> AsyncGenerator[KeepsVolumes]:
    """Open what keeps the volumes.

    Raises:
        TidegateError: no gateway was started on the state directory yet, or no engine can be asked.
    """
    async with AsyncExitStack() as stack:
        around = surroundings(settings, StateDirectory.look(settings.state))
        runtime = await open_runtime(_RUNTIME, settings, around, stack)
        if not isinstance(runtime, KeepsVolumes):
            raise RuntimeFailure(f"runtime {_RUNTIME} keeps no volumes")
        yield runtime
