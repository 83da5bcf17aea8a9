"""Changes that a command makes by itself, in the journal before they are made.

The gateway that runs records them, since it alone writes its journal; where none runs, it is opened here. Knows
what is changed by name only.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

from tidegate.cli.output import say
from tidegate.domain.errors import JournalUnavailable, StateError, TidegateError


async def record(state: Path, event: str, name: str = "") -> None:
    """Record what the local user is about to change, or say that it is not recorded.

    Raises:
        TidegateError: a gateway runs and does not record it, so it must not be done.
    """
    from tidegate.cli import control

    try:
        async with control.connect(state) as session:
            await control.operate(session, "/v1/changes", {"event": event, "name": name})
    except StateError:  # no gateway runs
        await alone(state, {"event": event, "name": name})
    except TidegateError as error:
        told = str(error)
        if "nothing was done" not in told:
            told = f"nothing was done, since the gateway that runs did not record it: {told}"
        raise TidegateError(told) from None


async def alone(state: Path, fields: Mapping[str, object]) -> None:
    """Record a change where no gateway runs, or say that it is not recorded."""
    try:
        await asyncio.to_thread(_write, state, fields)
    except (StateError, JournalUnavailable) as error:
        say(f"tidegate: this is not recorded in the journal: {error}")


def _write(state: Path, told: Mapping[str, object]) -> None:
    """Write it as a gateway would, which no other can do meanwhile; a moment later one may start."""
    from tidegate.audit.journal import Journal
    from tidegate.extensions.identity.local import local_principal
    from tidegate.state_directory import StateDirectory

    with StateDirectory.open(state) as directory:
        journal = Journal.open(
            directory.journal, key=directory.key("journal"), writer=directory.instance, clock=time.time
        )
        try:
            fields = {
                **told,
                "via": "command",
                "credential": "",
                "peer": f"uid:{os.getuid()}",
            }
            journal.changed(local_principal(), fields)
        finally:
            journal.close()
