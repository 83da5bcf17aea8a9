"""Identities over reloads: what stays the same stays open, what goes is closed, what fails changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.issuer import Issuer, issuing
from tests.unit.extensions.identity.setting import AROUND, bearing, model, until
from tidegate.assemble.identities import Identities
from tidegate.domain.errors import SettingsError, Unauthenticated
from tidegate.domain.tenant import Tenant, Tenants
from tidegate.extensions.identity.confirmation import Bind, refuse_bound
from tidegate.extensions.identity.keys import KeyIdentity, KeyStore
from tidegate.extensions.state.memory import MemoryState
from tidegate.ports.identity import Credentials

KEYS = model(type="keys")


def entry(issuer: Issuer, **more: Any) -> Any:
    return model(type="jwt", issuer=issuer.url, **more)


def watching() -> int:
    """Tell how many issuers and key stores are followed now."""
    return sum(task.get_name() == "identity watch" for task in asyncio.all_tasks())


async def follow(identity: KeyIdentity) -> None:
    await identity.follow()


def binding() -> Bind:
    return refuse_bound


@pytest.fixture
async def state() -> MemoryState:
    return MemoryState()


@pytest.fixture
async def identities(state: MemoryState) -> AsyncIterator[Identities]:
    made = Identities(state, AROUND, follow, binding)
    yield made
    await made.close()
    assert watching() == 0


@pytest.fixture
async def issuers() -> AsyncIterator[tuple[Issuer, Issuer]]:
    async with issuing() as one, issuing() as other:
        yield one, other


async def change(identities: Identities, *models: Any) -> None:
    async with identities.prepared(models) as prepared:
        identities.adopt(prepared)


async def who(identities: Identities, token: str) -> str | None:
    vouched = await identities.authenticate(bearing(token))
    return None if vouched is None else vouched.principal.issuer


async def test_entries_are_asked_in_order_each_for_its_own(
    identities: Identities, issuers: tuple[Issuer, Issuer], state: MemoryState
) -> None:
    one, other = issuers
    await change(identities, KEYS, entry(one), entry(other))
    _, key = await KeyStore(state).create(name="ci", roles=["user"])
    assert await who(identities, key) == "key"
    assert await who(identities, one.token()) == one.url
    assert await who(identities, other.token()) == other.url
    assert await who(identities, one.token(iss="https://third.example")) is None
    assert await identities.authenticate(Credentials(None, "10.0.0.1")) is None


async def test_an_entry_that_stays_the_same_stays_open_and_one_that_goes_is_closed(
    identities: Identities, issuers: tuple[Issuer, Issuer]
) -> None:
    one, other = issuers
    await change(identities, KEYS, entry(one))
    assert await who(identities, one.token()) == one.url
    await change(identities, entry(one), entry(other))
    assert await who(identities, one.token()) == one.url
    assert await who(identities, other.token()) == other.url
    assert one.times("/jwks") == 1, "its keys were not fetched anew"
    await change(identities, entry(other))
    assert await who(identities, one.token()) is None
    assert watching() == 1


async def test_a_changed_entry_is_opened_anew(identities: Identities, issuers: tuple[Issuer, Issuer]) -> None:
    one, _ = issuers
    await change(identities, entry(one, attributes={"a": "b"}))
    assert await who(identities, one.token()) == one.url
    await change(identities, entry(one, attributes={"a": "c"}))
    assert await who(identities, one.token()) == one.url
    assert one.times("/jwks") == 2
    assert watching() == 1


async def test_whatever_was_vouched_for_before_a_change_is_asked_anew(
    identities: Identities, issuers: tuple[Issuer, Issuer], state: MemoryState
) -> None:
    one, other = issuers
    seen = [identities.version]
    for models in ([KEYS], [KEYS, entry(one)], [entry(one)], [entry(other), KEYS], [KEYS], [entry(one)]):
        await change(identities, *models)
        seen.append(identities.version)
        if KEYS in models:
            await KeyStore(state).create(name="ci", roles=["user"])
            before = seen[-1]
            await until(lambda before=before: identities.version > before, "the new key to be known")
            seen.append(identities.version)
    assert seen == sorted(set(seen)), "the version only ever grows"


async def test_what_is_prepared_and_not_taken_is_closed(
    identities: Identities, issuers: tuple[Issuer, Issuer]
) -> None:
    one, other = issuers
    await change(identities, entry(one))
    async with identities.prepared([entry(one), entry(other)]):
        assert watching() == 2
    assert watching() == 1
    assert await who(identities, one.token()) == one.url
    assert await who(identities, other.token()) is None


async def test_an_entry_that_cannot_be_opened_changes_nothing(
    identities: Identities, issuers: tuple[Issuer, Issuer], tmp_path: Path
) -> None:
    one, other = issuers
    await change(identities, entry(one))
    version = identities.version
    bundle = tmp_path / "ca.pem"
    for text in (None, "nothing of the kind"):
        if text is not None:
            bundle.write_text(text)
        with pytest.raises(SettingsError, match=r"ca\.pem cannot be used"):
            await change(identities, entry(other), entry(one, ca=str(bundle)))
    assert identities.version == version
    assert await who(identities, one.token()) == one.url
    assert watching() == 1


async def test_principals_of_a_tenant_that_is_not_declared_are_let_in_nowhere(
    identities: Identities, state: MemoryState
) -> None:
    await change(identities, KEYS)
    keys = KeyStore(state)
    (_, marine), (_, home) = (
        await keys.create(name="ann", roles=["user"], tenant="marine"),
        await keys.create(name="bob", roles=["user"]),
    )
    assert await who(identities, marine) == "key", "where none is declared, any will do"
    for declared in (Tenants((Tenant("motor"),)), Tenants((Tenant("motor"), Tenant("marine")))):
        before = identities.version
        async with identities.prepared([KEYS]) as prepared:
            identities.adopt(prepared, declared)
        assert identities.version != before, "what was vouched for before is asked anew"
        assert await who(identities, home) == "key"
        if declared.knows("marine"):
            assert await who(identities, marine) == "key"
        else:
            with pytest.raises(Unauthenticated, match="of a tenant that is not declared here"):
                await identities.authenticate(bearing(marine))
