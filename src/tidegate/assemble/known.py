"""Known: who API keys speak for, and who the local user is, for those who have rights explained. Vouches for nobody."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tidegate.edge.admin.explaining import Speaker
from tidegate.extensions.identity.keys import ISSUER, KeyRecord, KeyStore
from tidegate.extensions.identity.local import ISSUER as LOCAL
from tidegate.extensions.identity.local import local_principal
from tidegate.ports.identity import Vouched
from tidegate.ports.state import State

Seen = Callable[[str], Sequence[Vouched]]
"""Gives what was vouched for of those of a name, the latest first."""


class KnownHere:
    """Those that the state store and this machine know, and those who asked a moment ago."""

    def __init__(self, state: State, seen: Seen = lambda _: ()) -> None:
        self._store = KeyStore(state)
        self._seen = seen

    async def by_key(self, key: str) -> Speaker | None:
        """Give whom an API key speaks for, by its id; None where there is no such key.

        Raises:
            StateError: it cannot be looked up.
        """
        found = next((each for each in await self._store.list() if each.id == key), None)
        return None if found is None else _speaker(found)

    async def named(self, tenant: str, issuer: str, subject: str) -> Sequence[Speaker]:
        """Give those who are known by a name; an empty issuer is any.

        Raises:
            StateError: it cannot be looked up.
        """
        found: list[Speaker] = []
        local = local_principal()
        if issuer == LOCAL and (local.tenant, local.subject) == (tenant, subject):
            found.append(Speaker(local, "the local user"))
        if issuer in ("", ISSUER):
            keys = [
                _speaker(each)
                for each in await self._store.list()
                if (each.tenant, each.name) == (tenant, subject)
            ]
            found += [each for each in keys if each.usable]
        known = {each.principal.key for each in found}
        for each in self._seen(subject):
            who = each.principal
            if who.tenant == tenant and issuer in ("", who.issuer) and who.key not in known:
                known.add(who.key)  # of several tokens the latest
                found.append(
                    Speaker(who, f"the credentials that {who.issuer} vouched for last", scopes=each.scopes)
                )
        return found


def _speaker(record: KeyRecord) -> Speaker:
    return Speaker(record.principal(), f"key {record.id}", record.usable(time.time()))
