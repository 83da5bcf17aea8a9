"""Identity: turns credentials into a Principal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from tidegate.domain.principal import Principal


class Credentials(Struct, frozen=True):
    """What a request brought. Never logged."""

    authorization: bytes | None
    """The `Authorization` header as it came."""
    peer: str
    """Address of the client, after trusted proxies."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """A principal and until when it may be taken without asking again (Unix seconds, or None)."""

    principal: Principal
    expires: float | None = None
    credential: str = ""
    """Public name of the credential (a key's id), for records and revocation."""


class Identity(Protocol):
    """A way to authenticate."""

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        """Vouch for who asks, or None where these credentials are not of this kind.

        Raises:
            Unauthenticated: they are of this kind and not valid.
        """
        ...

    @property
    def version(self) -> int:
        """A number that changes when anything vouched for before may no longer hold."""
        ...
