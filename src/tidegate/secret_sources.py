"""Secrets as settings refer to them: all looked up at once, and watched for changes.

Puts the extensions of the kind `secrets` behind what `settings` asks for. Holds values only to compare them;
names alone are logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

from pydantic import BaseModel

from tidegate.domain.errors import SecretUnavailable, SettingsError
from tidegate.domain.server import Secret
from tidegate.extensions import table
from tidegate.ports.extension import Surroundings
from tidegate.ports.secrets import Secrets
from tidegate.settings.references import Reference
from tidegate.settings.settings import SecretsKept
from tidegate.telemetry import log

_ALL = 120.0
"""Seconds for all secrets together; each source has bounds of its own below it."""
_LEAST = 1.0
"""Seconds between two looks."""

Found = Mapping[Reference, Secret | SecretUnavailable]


def look_up(wanted: Sequence[Reference], models: Mapping[str, BaseModel], state: Path) -> Found:
    """Get secrets from where they are kept, or learn why not. Blocking; a `settings.secrets.LookUp`.

    In a thread with a loop of its own, so that it can be called where a loop runs and where none does.
    """
    if not wanted:
        return {}
    around = Surroundings(state, "")
    with ThreadPoolExecutor(1, "secrets") as alone:
        return alone.submit(asyncio.run, get_all(wanted, models, around)).result()


async def get_all(
    wanted: Sequence[Reference], models: Mapping[str, BaseModel], around: Surroundings
) -> dict[Reference, Secret | SecretUnavailable]:
    """Open the sources that are needed, get each secret, and close them."""
    found: dict[Reference, Secret | SecretUnavailable] = {}
    async with AsyncExitStack() as stack:
        sources: dict[str, Secrets] = {}
        for kind in dict.fromkeys(each.kind for each in wanted):
            try:
                extension = table.resolve("secrets", kind)
                settings = models.get(kind)
                opened = extension.open(settings if settings is not None else extension.settings(), around)
                sources[kind] = await stack.enter_async_context(opened)
            except (SecretUnavailable, SettingsError) as error:
                found |= {each: SecretUnavailable(str(error)) for each in wanted if each.kind == kind}
        asked = [each for each in wanted if each.kind in sources]
        answers = await asyncio.gather(*(_get(sources[each.kind], each.name) for each in asked))
        found |= dict(zip(asked, answers, strict=True))
    return found


async def _get(source: Secrets, name: str) -> Secret | SecretUnavailable:
    try:
        async with asyncio.timeout(_ALL):
            return await source.get(name)
    except SecretUnavailable as error:
        return error
    except TimeoutError:
        return SecretUnavailable(f"nothing came within {_ALL:g} s")


class SecretWatch:
    """Looks again and again whether a secret has changed, and tells. What cannot be had now has not changed."""

    def __init__(
        self,
        kept: Callable[[], SecretsKept],
        around: Surroundings,
        on_change: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        """`kept` gives what the settings that hold now were made with; `on_change` loads them again."""
        self._kept = kept
        self._around = around
        self._on_change = on_change

    async def run(self) -> None:
        """Look for ever; where the settings say 0, only whether they still do."""
        while True:
            every = self._kept().refresh
            await asyncio.sleep(max(every, _LEAST) if every else 60.0)
            if not self._kept().refresh:
                continue
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - one look's fault must not end all later ones
                # What it says may hold a value.
                log().error("supervisor.failed", task="secret watch", reason=type(error).__name__)

    async def look(self) -> Sequence[str]:
        """Look once. Give the names of what has changed, after `on_change` was told."""
        kept = self._kept()
        # The process's own variables cannot change.
        watched = [each for each in kept.values if each.kind != "env"]
        absolute = {each: _absolute(each, kept.base) for each in watched}
        found = await get_all(tuple(dict.fromkeys(absolute.values())), kept.sources, self._around)
        changed: list[str] = []
        for each, asked in absolute.items():
            now = found[asked]
            if isinstance(now, SecretUnavailable):
                log().warning("secret.unavailable", secret=str(each), reason=str(now))
            elif now != kept.values[each]:
                changed.append(str(each))
        if changed:
            log().info("secret.changed", secrets=changed)
            await self._on_change(changed)
        return changed


def _absolute(reference: Reference, base: Path) -> Reference:
    return Reference("file", str(base / reference.name)) if reference.kind == "file" else reference
