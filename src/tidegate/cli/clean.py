"""`tidegate clean`: remove all that is ours."""

from __future__ import annotations

import asyncio

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, load_settings
from tidegate.cli.output import say, write, write_json
from tidegate.domain.errors import TidegateError


def clean(config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """Remove every workload, network and leftover of the gateway that this settings file describes."""
    from tidegate.cli import control

    settings = load_settings(config)
    if asyncio.run(control.running(settings.state)):
        raise TidegateError(f"a gateway runs on {settings.state}; stop it first, it cleans up after itself")
    from tidegate.assemble import clean as clean_up

    removed = asyncio.run(clean_up(settings, say))
    if json:
        write_json({"removed": removed})
        return
    write(f"removed {removed} things" if removed != 1 else "removed 1 thing")
