"""Credentials that a connection brings again are known at a glance, for as long as they hold and no longer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidegate.access.authenticate import MAX_AGE, Authenticator
from tidegate.domain.errors import Unauthenticated
from tidegate.domain.principal import Principal
from tidegate.ports.identity import Credentials, Vouched
from tidegate.testing.clock import VirtualClock


class Names:
    """An identity that takes any header for a name."""

    def __init__(self, prove: Callable[[Credentials], None] | None = None) -> None:
        self.version = 0
        self._prove = prove

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        """Vouch for it."""
        name = (credentials.authorization or b"").decode()
        return Vouched(Principal("default", "test", name), prove=self._prove)


def brought(name: str = "ann") -> Credentials:
    return Credentials(name.encode(), "192.0.2.1")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def known(access: Authenticator, given: Credentials) -> Vouched:
    """Have them vouched for, and found good once more."""
    vouched = await access.authenticate(given)
    assert access.cached(given) is vouched
    assert given.known is not None
    return vouched


async def test_what_is_known_is_told_again_without_a_look_at_the_header(clock: VirtualClock) -> None:
    access, given = Authenticator([Names()], clock), brought()
    vouched = await known(access, given)
    given.authorization = b"never looked at"
    assert access.cached(given) is vouched


async def test_it_falls_when_the_identity_changes(clock: VirtualClock) -> None:
    names, given = Names(), brought()
    access = Authenticator([names], clock)
    await known(access, given)
    names.version += 1
    assert access.cached(given) is None
    assert given.known is None
    assert access.cached(brought()) is None


async def test_it_falls_when_its_time_is_over(clock: VirtualClock) -> None:
    access, given = Authenticator([Names()], clock), brought()
    await known(access, given)
    clock.advance(MAX_AGE)
    assert access.cached(given) is None
    assert given.known is None


async def test_where_it_fell_what_others_were_vouched_for_meanwhile_counts(clock: VirtualClock) -> None:
    names, given = Names(), brought()
    access = Authenticator([names], clock)
    before = await known(access, given)
    names.version += 1
    anew = await access.authenticate(brought())
    assert anew is not before
    assert access.cached(given) is anew


async def test_what_has_to_be_proved_is_proved_by_each_request(clock: VirtualClock) -> None:
    def prove(credentials: Credentials) -> None:
        if credentials.proof is None:
            raise Unauthenticated("no proof")

    access, given = Authenticator([Names(prove)], clock), brought()
    given.proof = b"proof"
    await access.authenticate(given)
    assert access.cached(given) is not None
    assert given.known is None
    with pytest.raises(Unauthenticated):
        access.cached(brought())
