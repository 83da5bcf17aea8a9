"""Identities: who vouches, by the settings; opened beside those in force, and put in their place in one step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from tidegate.assemble.entries import Entries, Opened
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


Prepared = Sequence[Opened[IdentityModel, tuple[Identity, ...]]]
"""Entries of `auth`, each as the identities that it stands for."""


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
        self._entries: Entries[IdentityModel, tuple[Identity, ...]] = Entries(self._identities_of)
        self._identities: tuple[Identity, ...] = ()
        self._tenants = NO_TENANTS
        self._only: Identity | None = None
        """Asked at every call for its version, so without a detour."""
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

    async def prepare(self, models: Sequence[IdentityModel]) -> Prepared:
        """Open what is not open yet; nothing is in force.

        Raises:
            SettingsError: what a file holds that the settings name cannot be used.
        """
        return await self._entries.prepare(models)

    def prepared(self, models: Sequence[IdentityModel]) -> AbstractAsyncContextManager[Prepared]:
        """Open what is not open yet, and at the end close whatever is not in force then.

        Raises:
            SettingsError: what a file holds that the settings name cannot be used.
        """
        return self._entries.prepared(models)

    def adopt(self, prepared: Prepared, tenants: Tenants = NO_TENANTS) -> None:
        """Put them in force, in one step; at the end of `prepared` those that were are closed. They vouch for principals
        of these tenants only, where there are any."""
        self._tenants = tenants
        version = self.version + 1
        self._entries.adopt(prepared)
        self._identities = tuple(identity for each in prepared for identity in each.it)
        self._only = self._identities[0] if len(self._identities) == 1 else None
        self._changes = version - sum(each.version for each in self._identities)

    async def close(self) -> None:
        """Close all."""
        self._identities, self._only = (), None
        await self._entries.close()

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
