"""Changes that a command makes by itself, in the journal before they are made.

The gateway that runs records them, since it alone writes its journal; where none runs, it is opened here. Knows
what is changed by name only.
"""

from __future__ import annotations

import asyncio
import os
import time
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
        try:
            await asyncio.to_thread(_write, state, event, name)
        except (StateError, JournalUnavailable) as error:
            say(f"tidegate: this is not recorded in the journal: {error}")
    except TidegateError as error:
        told = str(error)
        if "nothing was done" not in told:
            told = f"nothing was done, since the gateway that runs did not record it: {told}"
        raise TidegateError(told) from None


def _write(state: Path, event: str, name: str) -> None:
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
                "event": event,
                "name": name,
                "via": "command",
                "credential": "",
                "peer": f"uid:{os.getuid()}",
            }
            journal.changed(local_principal(), fields)
        finally:
            journal.close()
