"""Identities: who vouches, by the settings; opened beside those in force, and put in their place in one step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.domain.errors import Unauthenticated
from tidegate.domain.tenant import NO_TENANTS, Tenants
from tidegate.extensions.identity.keys import KeyIdentity, KeyStore
from tidegate.extensions.identity.local import LocalIdentity
from tidegate.ports.extension import Surroundings
from tidegate.ports.identity import Credentials, Identity, Vouched
from tidegate.ports.state import State
from tidegate.settings.identity import (
    CertificateModel,
    IdentityModel,
    IntrospectionModel,
    JwtModel,
    KeysModel,
    KubernetesModel,
    LocalModel,
    SpiffeModel,
)
from tidegate.telemetry import log

if TYPE_CHECKING:
    from tidegate.extensions.identity.confirmation import Bind

Work = Coroutine[None, None, None]
Binding = Callable[[], "Bind"]
"""Gives how tokens are proved; asked where there are any, since what it needs is large."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """One entry of `auth`, as it is: the identities that it stands for, and what runs as long as it is used."""

    model: IdentityModel
    identities: tuple[Identity, ...]
    close: Callable[[], Coroutine[None, None, None]]


class Identities:
    """Those in force, as one identity. Entries that stay the same over a reload stay open."""

    def __init__(
        self, state: State, around: Surroundings, follow: Callable[[KeyIdentity], Work], binding: Binding
    ) -> None:
        """`follow` keeps API keys current for as long as they are used; `binding` says how tokens are proved that
        are bound to a key."""
        self._state = state
        self._around = around
        self._follow = follow
        self._binding = binding
        self._opened: Sequence[Opened] = ()
        self._identities: tuple[Identity, ...] = ()
        self._tenants = NO_TENANTS
        self._only: Identity | None = None
        """Asked at every call for its version, so without a detour."""
        self._left: list[Opened] = []
        self._changes = 0

    @property
    def version(self) -> int:
        """Changes when any of them says so, and when there are others."""
        if self._only is not None:
            return self._changes + self._only.version
        return self._changes + sum(each.version for each in self._identities)

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        """Ask each in order; the first whose kind the credentials are decides.

        Raises:
            Unauthenticated: they are of its kind and not valid, or of a tenant that is not declared.
            IdentityUnavailable: they are of its kind, and nobody can tell.
        """
        for identity in self._identities:
            vouched = await identity.authenticate(credentials)
            if vouched is not None:
                if not self._tenants.knows(vouched.principal.tenant):
                    raise Unauthenticated("the credentials are of a tenant that is not declared here")
                return vouched
        return None

    async def prepare(self, models: Sequence[IdentityModel]) -> Sequence[Opened]:
        """Open what is not open yet; nothing is in force.

        Raises:
            SettingsError: what a file holds that the settings name cannot be used.
        """
        made: list[Opened] = []
        try:
            for model in models:
                one = next((each for each in self._opened if each.model == model), None)
                made.append(one if one is not None else await self._open(model))
        except BaseException:
            await self._forget(made)
            raise
        return made

    @asynccontextmanager
    async def prepared(self, models: Sequence[IdentityModel]) -> AsyncGenerator[Sequence[Opened]]:
        """Open what is not open yet, and at the end close whatever is not in force then.

        Raises:
            SettingsError: what a file holds that the settings name cannot be used.
        """
        found = await self.prepare(models)
        try:
            yield found
        finally:
            await self._forget(found)
            await self._close_left()

    def adopt(self, prepared: Sequence[Opened], tenants: Tenants = NO_TENANTS) -> None:
        """Put them in force, in one step; at the end of `prepared` those that were are closed. They vouch for principals
        of these tenants only, where there are any."""
        self._tenants = tenants
        self._left += [each for each in self._opened if each not in prepared]
        version = self.version + 1
        self._opened = prepared
        self._identities = tuple(identity for each in prepared for identity in each.identities)
        self._only = self._identities[0] if len(self._identities) == 1 else None
        self._changes = version - sum(each.version for each in self._identities)

    async def _forget(self, prepared: Sequence[Opened]) -> None:
        for each in prepared:
            if each not in self._opened:
                await each.close()

    async def _close_left(self) -> None:
        left, self._left = self._left, []
        for each in left:
            await each.close()

    async def close(self) -> None:
        """Close all."""
        self._left += self._opened
        self._opened, self._identities, self._only = (), (), None
        await self._close_left()

    async def _open(self, model: IdentityModel) -> Opened:
        async with AsyncExitStack() as stack:
            identities = await stack.enter_async_context(self._identities_of(model))
            return Opened(model, identities, stack.pop_all().aclose)

    @asynccontextmanager
    async def _identities_of(self, model: IdentityModel) -> AsyncGenerator[tuple[Identity, ...]]:
        match model:
            case LocalModel():
                yield (LocalIdentity(),)
            case KeysModel():
                identity = KeyIdentity(KeyStore(self._state))
                async with running((self._follow(identity),)):
                    yield (identity,)
            case JwtModel() | IntrospectionModel() | KubernetesModel() | SpiffeModel():
                # Here and not above: most of what they need is large, and needless with API keys alone.
                from tidegate.assemble import issuers

                async with (
                    issuers.opened(model, self._around, time.time, _tell, self._binding()) as (found, work),
                    running(work),
                ):
                    yield found
            case CertificateModel():
                from tidegate.assemble import issuers

                found, work = await issuers.certificates(model, time.time, _tell)
                async with running(work):
                    yield found


@asynccontextmanager
async def running(work: Sequence[Work]) -> AsyncGenerator[None]:
    """Have tasks run meanwhile."""
    tasks = [asyncio.create_task(each, name="identity watch") for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _tell(event: str, /, **fields: object) -> None:
    if event == "identity.unavailable":
        log().warning(event, **fields)
    else:
        log().info(event, **fields)
