"""The local user: whoever reaches the gateway over the loopback interface. Vouches for no one else."""

from __future__ import annotations

import ipaddress
import os
import pwd
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tidegate.domain.principal import Principal
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.identity import Credentials, Identity, Vouched

ISSUER = "local"
ROLES = frozenset({"admin", "user"})


class LocalSettings(BaseModel):
    """Settings of the local user: there are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["local"] = "local"


def local_principal() -> Principal:
    """Give the user this process runs as, with every role."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid-{uid}"
    return Principal("default", ISSUER, name, ROLES)


@lru_cache(maxsize=1024)
def is_loopback(peer: str) -> bool:
    """Tell whether an address is this machine's own; what is no address is not."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


class LocalIdentity:
    """Vouches for a loopback peer as the local user, whatever credentials it brings."""

    def __init__(self) -> None:
        self._vouched = Vouched(local_principal())

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        """Vouch for a loopback peer, for no other."""
        return self._vouched if is_loopback(credentials.peer) else None

    @property
    def version(self) -> int:
        """Never changes: the user a process runs as does not."""
        return 0


@asynccontextmanager
async def open_local(settings: LocalSettings, surroundings: Surroundings) -> AsyncGenerator[Identity]:
    """Open the identity of the local user."""
    yield LocalIdentity()


LOCAL: Extension[LocalSettings, Identity] = Extension(LocalSettings, open_local)
