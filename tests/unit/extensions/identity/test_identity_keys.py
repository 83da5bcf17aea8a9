"""API keys: what is shown, what is stored, who is vouched for and until when."""

import asyncio
import re

import pytest

from tidegate.domain.errors import StateError, Unauthenticated
from tidegate.extensions.identity.keys import RECHECK, KeyIdentity, KeyStore
from tidegate.extensions.state.memory import MemoryState
from tidegate.ports.identity import Credentials
from tidegate.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def store(clock: VirtualClock) -> KeyStore:
    return KeyStore(MemoryState(clock=clock), clock=clock)


def bearing(token: str) -> Credentials:
    return Credentials(f"Bearer {token}".encode(), "10.0.0.1")


async def test_a_key_has_the_documented_form_and_no_two_are_alike(store: KeyStore) -> None:
    keys = [(await store.create(name="ci", roles=["user"]))[1] for _ in range(20)]
    assert all(re.fullmatch(r"tg_[a-z2-7]{12}_[A-Za-z0-9_-]{49}", key) for key in keys)
    assert len(set(keys)) == 20


async def test_the_secret_is_not_in_the_store(store: KeyStore) -> None:
    record, key = await store.create(name="ci", roles=["user"])
    secret = key.split("_", 2)[2]
    [(name, value)] = await store.state.scan("")
    assert name == f"key/{record.id}"
    assert secret.encode() not in value
    assert secret[:43].encode() not in value


async def test_a_key_vouches_for_its_tenant_name_and_roles(store: KeyStore, clock: VirtualClock) -> None:
    record, key = await store.create(name="claims-agent", roles=["user", "admin"], tenant="acme")
    vouched = await KeyIdentity(store).authenticate(bearing(key))
    assert vouched is not None
    principal = vouched.principal
    assert (principal.tenant, principal.issuer, principal.subject) == ("acme", "key", "claims-agent")
    assert principal.roles == {"user", "admin"}
    assert vouched.credential == record.id
    assert vouched.expires == clock() + RECHECK


async def test_the_scheme_is_read_without_regard_to_case(store: KeyStore) -> None:
    _, key = await store.create(name="ci", roles=["user"])
    identity = KeyIdentity(store)
    assert await identity.authenticate(Credentials(b"bearer " + key.encode(), "")) is not None
    assert await identity.authenticate(Credentials(b"BEARER  " + key.encode() + b" ", "")) is not None


@pytest.mark.parametrize("header", [None, b"", b"Basic dTpw", b"Bearer", b"Bearer eyJhbGciOi", b"tg_x", b"Bearer \xff\xfe"])  # fmt: skip
async def test_credentials_of_another_kind_are_left_to_others(store: KeyStore, header: bytes | None) -> None:
    assert await KeyIdentity(store).authenticate(Credentials(header, "")) is None


async def test_every_mistyped_character_is_told_from_an_unknown_key(store: KeyStore) -> None:
    _, key = await store.create(name="ci", roles=["user"])
    identity = KeyIdentity(store)
    for place in range(3, len(key)):
        wrong = key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :]
        with pytest.raises(Unauthenticated, match="mistyped"):
            await identity.authenticate(bearing(wrong))
    with pytest.raises(Unauthenticated, match="mistyped"):
        await identity.authenticate(bearing(key[:-1]))


async def test_a_key_of_another_gateway_is_unknown(store: KeyStore) -> None:
    _, foreign = await KeyStore(MemoryState()).create(name="ci", roles=["user"])
    with pytest.raises(Unauthenticated, match="not known"):
        await KeyIdentity(store).authenticate(bearing(foreign))


async def test_a_right_id_with_a_wrong_secret_is_unknown(store: KeyStore) -> None:
    record, _ = await store.create(name="ci", roles=["user"])
    assert await store.check(record.id, b"x" * 43) is None


async def test_a_key_stops_when_it_expires(store: KeyStore, clock: VirtualClock) -> None:
    _, key = await store.create(name="ci", roles=["user"], expires=clock() + 30)
    identity = KeyIdentity(store)
    vouched = await identity.authenticate(bearing(key))
    assert vouched is not None
    assert vouched.expires == clock() + 30
    clock.advance(30)
    with pytest.raises(Unauthenticated, match="expired"):
        await identity.authenticate(bearing(key))


async def test_a_revoked_key_stops_and_the_version_says_so(store: KeyStore) -> None:
    record, key = await store.create(name="ci", roles=["user"])
    identity = KeyIdentity(store)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(identity.follow())
        assert await identity.authenticate(bearing(key)) is not None
        before = identity.version
        revoked = await store.revoke(record.id)
        async with asyncio.timeout(1):
            while identity.version <= before:
                await asyncio.sleep(0)
        following.cancel()
    assert revoked is not None
    assert revoked.revoked is not None
    with pytest.raises(Unauthenticated, match="revoked"):
        await identity.authenticate(bearing(key))


async def test_revoking_again_keeps_the_first_time_and_unknown_ids_give_none(
    store: KeyStore, clock: VirtualClock
) -> None:
    record, _ = await store.create(name="ci", roles=["user"])
    first = await store.revoke(record.id)
    clock.advance(10)
    assert await store.revoke(record.id) == first
    assert await store.revoke("a" * 12) is None
    assert await store.revoke("../../etc") is None


async def test_keys_are_listed_oldest_first_with_revoked_ones(store: KeyStore, clock: VirtualClock) -> None:
    made = []
    for name in ("c", "a", "b"):
        made.append((await store.create(name=name, roles=["user"]))[0])
        clock.advance(1)
    await store.revoke(made[1].id)
    listed = await store.list()
    assert [record.name for record in listed] == ["c", "a", "b"]
    assert [record.revoked is None for record in listed] == [True, False, True]


@pytest.mark.parametrize(
    "given",
    [
        {"name": "", "roles": ["user"]},
        {"name": "a\nb", "roles": ["user"]},
        {"name": "x" * 65, "roles": ["user"]},
        {"name": "ci", "roles": []},
        {"name": "ci", "roles": ["us er"]},
        {"name": "ci", "roles": ["user"], "tenant": "a/b"},
        {"name": "ci", "roles": ["user"], "expires": 1.0},
    ],
)
async def test_a_key_that_makes_no_sense_is_not_made(store: KeyStore, given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"name|role|end"):
        await store.create(**given)  # type: ignore[arg-type]
    assert await store.list() == []


async def test_a_damaged_record_is_an_error_and_never_a_yes(store: KeyStore) -> None:
    record, key = await store.create(name="ci", roles=["user"])
    await store.state.put(f"key/{record.id}", b"{}")
    with pytest.raises(StateError, match="damaged"):
        await KeyIdentity(store).authenticate(bearing(key))
