"""Secrets: where secrets are kept, and how one is had by its name.

What a name looks like is each source's own: `NAME`, `path#field`, `PROGRAM/SERVER-URL`. That a secret
has changed is found by getting it again. The contract suite is `tidegate.testing.secrets_contract`.
"""

from __future__ import annotations

from typing import Protocol

from tidegate.domain.server import Secret


class Secrets(Protocol):
    """One place where secrets are kept."""

    async def get(self, name: str) -> Secret:
        """Give a secret as it is now. Bounded in size and time.

        Raises:
            SecretUnavailable: the name is none, nothing is kept by it, or it cannot be had now. The
                message holds no value.
        """
        ...
