"""What the tests of tokens share: an identity over a real issuer on loopback, opened as the gateway opens it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tests.servers.issuer import Issuer
from tidegate.assemble.issuers import opened
from tidegate.domain.errors import TidegateError
from tidegate.extensions.identity.confirmation import Bind, refuse_bound
from tidegate.ports.extension import Surroundings
from tidegate.ports.identity import Credentials, Identity, Vouched
from tidegate.settings.identity import AuthChoice

RESOURCE = "https://gw.example/mcp"
AROUND = Surroundings(Path("/nowhere"), "0" * 16)


@dataclass
class Clock:
    """The time, which tests may move."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Told:
    """What was told to the log."""

    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def __call__(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    def names(self) -> list[str]:
        return [event for event, _ in self.events]


def bearing(token: str, scheme: str = "Bearer", resource: str = RESOURCE) -> Credentials:
    return Credentials(f"{scheme} {token}".encode(), "10.0.0.1", resource)


def model(**settings: Any) -> Any:
    """Read one entry of `auth`."""
    return TypeAdapter[Any](AuthChoice).validate_python(settings)


@dataclass
class Vouching:
    """An identity, with what it was given."""

    identities: tuple[Identity, ...]
    clock: Clock
    told: Told

    async def __call__(self, token: str, resource: str = RESOURCE, scheme: str = "Bearer") -> Vouched | None:
        for identity in self.identities:
            vouched = await identity.authenticate(bearing(token, scheme, resource))
            if vouched is not None:
                return vouched
        return None

    @property
    def version(self) -> int:
        return sum(each.version for each in self.identities)


@contextlib.asynccontextmanager
async def vouching(
    issuer: Issuer | None = None, /, *, bind: Bind = refuse_bound, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[Vouching]:
    """Open an entry of `auth`, by default one of signed tokens of an issuer."""
    given = {"type": "jwt", **settings}
    if issuer is not None:
        given.setdefault("issuer", issuer.url)
    clock, told = clock or Clock(), Told()
    async with opened(model(**given), AROUND, clock, told, bind) as (identities, work):
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield Vouching(identities, clock, told)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, for a bounded time."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.005)


async def refusal(vouch: Vouching, token: str, resource: str = RESOURCE, scheme: str = "Bearer") -> str:
    """Give why a token is refused, with the kind of refusal before it."""
    try:
        found = await vouch(token, resource, scheme)
    except TidegateError as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError(f"it was taken: {found}")
