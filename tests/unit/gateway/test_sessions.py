"""A legacy session id carries what `initialize` fixed, sealed and bound, and survives its gateway."""

from __future__ import annotations

import asyncio
import base64
import json
import string

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tidegate.domain.errors import SessionUnknown, StateError
from tidegate.domain.principal import Principal
from tidegate.extensions.state.memory import MemoryState
from tidegate.gateway.declared import shorten
from tidegate.gateway.sessions import IDLE, LARGEST_DATA, LIFETIME, LONGEST, ROWS, Session, Sessions
from tidegate.protocol.capabilities import UI_EXTENSION, UI_TYPE, Offer, declare, read
from tidegate.protocol.codec import decode_object
from tidegate.testing.clock import VirtualClock

ALL = (
    Offer.FORM
    | Offer.URL
    | Offer.SAMPLING
    | Offer.SAMPLING_TOOLS
    | Offer.SAMPLING_CONTEXT
    | Offer.ROOTS
    | Offer.UI
)
ONE, TWO = Principal("t", "key", "one"), Principal("t", "key", "two")
KEY, OTHER = bytes(range(32)), bytes(range(32, 64))


def sessions(
    state: MemoryState | None = None, *, keys: tuple[bytes, ...] = (KEY,), clock: VirtualClock | None = None
) -> Sessions:
    """Open sessions with keys, of which the first seals."""
    ids = {bytes([number]) * 4: key for number, key in zip(b"ab", keys, strict=False)}
    return Sessions(ids, b"aaaa", state or MemoryState(), clock or VirtualClock())


def create(kept: Sessions, **more: str) -> str:
    """Make a session of ONE at /mcp."""
    return kept.create(ONE, "/mcp", "2025-11-25", more.get("client", "c 1"), b'{"roots":{}}')


async def test_it_gives_back_what_initialize_fixed() -> None:
    kept = sessions()
    found = await kept.open(create(kept), ONE, "/mcp")
    assert (found.revision, found.endpoint, found.client) == ("2025-11-25", "/mcp", "c 1")
    assert found.capabilities == {"roots": Raw(b"{}")}
    assert found.offer is Offer.ROOTS
    assert found.principal == ONE.key


async def test_an_id_is_visible_ascii_and_tells_nothing() -> None:
    session_id = create(sessions())
    assert set(session_id) <= set(string.ascii_letters + string.digits + "-_")
    raw = base64.urlsafe_b64decode(session_id + "==")
    assert b"mcp" not in raw
    assert ONE.key.encode() not in raw


async def test_no_two_ids_are_alike_and_neither_are_the_sessions_keys() -> None:
    kept = sessions()
    ids = [create(kept) for _ in range(50)]
    found = [await kept.open(each, ONE, "/mcp") for each in ids]
    assert len(set(ids)) == len({each.key for each in found}) == 50


async def test_it_survives_a_new_gateway_with_the_same_key_and_no_other() -> None:
    session_id = create(sessions())
    assert (await sessions().open(session_id, ONE, "/mcp")).client == "c 1"
    with pytest.raises(SessionUnknown):
        await sessions(keys=(OTHER,)).open(session_id, ONE, "/mcp")


async def test_a_key_that_no_longer_seals_still_opens() -> None:
    old = Sessions({b"bbbb": OTHER}, b"bbbb", MemoryState(), VirtualClock())
    session_id = old.create(ONE, "/mcp", "2025-11-25", "c", b"{}")
    assert await sessions(keys=(KEY, OTHER)).open(session_id, ONE, "/mcp")


@pytest.mark.parametrize(("principal", "endpoint"), [(TWO, "/mcp"), (ONE, "/other")])
async def test_it_is_bound_to_its_principal_and_endpoint(principal: Principal, endpoint: str) -> None:
    kept = sessions()
    session_id = create(kept)
    for _ in range(2):  # before and after it was opened by the one it belongs to
        with pytest.raises(SessionUnknown):
            await kept.open(session_id, principal, endpoint)
        assert kept.cached(session_id, principal, endpoint) is None
        await kept.open(session_id, ONE, "/mcp")


@pytest.mark.parametrize("other", [{"user"}, {"admin", "user", "x"}, set[str]()])
async def test_a_session_goes_on_when_its_principal_has_other_roles_and_attributes(other: set[str]) -> None:
    kept = sessions()
    before = Principal("t", "key", "one", frozenset({"admin", "user"}))
    session_id = kept.create(before, "/mcp", "2025-11-25", "c 1", b"{}")
    after = Principal("t", "key", "one", frozenset(other), frozenset({"g"}), "c", {"region": "eu"})
    for principal in (before, after):
        session = await kept.open(session_id, principal, "/mcp")
        assert kept.cached(session_id, principal, "/mcp") is session
    for stranger in (
        Principal("t", "key", "two"),
        Principal("u", "key", "one"),
        Principal("t", "jwt", "one"),
    ):
        assert kept.cached(session_id, stranger, "/mcp") is None
        with pytest.raises(SessionUnknown):
            await kept.open(session_id, stranger, "/mcp")


async def test_an_id_that_was_sealed_with_roles_still_opens_for_its_principal_alone() -> None:
    clock = VirtualClock(1e6)
    fixed = (bytes(16), 1e6, "2025-11-25", ONE.key, "/mcp", "c 1", b"{}", bytes(16))
    sealed = AESGCM(KEY).encrypt(bytes(12), msgspec.msgpack.encode(fixed), b"aaaa")
    earlier = base64.urlsafe_b64encode(b"aaaa" + bytes(12) + sealed).decode().rstrip("=")
    kept = sessions(clock=clock)
    assert (await kept.open(earlier, ONE, "/mcp")).revision == "2025-11-25"
    with pytest.raises(SessionUnknown, match="send initialize again"):
        await kept.open(earlier, Principal("t", "key", "two"), "/mcp")


async def test_every_bit_of_it_counts() -> None:
    kept = sessions()
    raw = base64.urlsafe_b64decode((session_id := create(kept)) + "=" * (-len(session_id) % 4))
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(SessionUnknown):
            await kept.open(base64.urlsafe_b64encode(changed).decode().rstrip("="), ONE, "/mcp")


@given(st.text(max_size=60))
async def test_any_text_is_no_session(text: str) -> None:
    kept = sessions()
    assert kept.cached(text, ONE, "/mcp") is None
    with pytest.raises(SessionUnknown):
        await kept.open(text, ONE, "/mcp")


@pytest.mark.parametrize("text", ["", "=", "a", "ü" * 20, "\x00", "A" * 1025, "A" * 10_000_000, "/+" * 40])
async def test_odd_ids_are_unknown(text: str) -> None:
    with pytest.raises(SessionUnknown):
        await sessions().open(text, ONE, "/mcp")


async def test_all_reasons_sound_alike() -> None:
    kept, words = sessions(), set[str]()
    session_id = create(kept)
    for asked, principal, endpoint in (
        (session_id, TWO, "/mcp"),
        (session_id, ONE, "/x"),
        ("x", ONE, "/mcp"),
    ):
        with pytest.raises(SessionUnknown) as caught:
            await kept.open(asked, principal, endpoint)
        words.add(str(caught.value))
    assert len(words) == 1


CAPABILITIES = st.dictionaries(
    st.text(max_size=120),
    st.dictionaries(st.text(max_size=40), st.text(max_size=80), max_size=5),
    max_size=30,
)


@given(
    st.text(max_size=91).filter(lambda text: text.isprintable()),
    CAPABILITIES,
    st.integers(1, 200),
)
async def test_it_never_grows_over_its_bound_and_always_opens(
    client: str, capabilities: dict[str, object], length: int
) -> None:
    kept, path = sessions(), "/" + "p" * (length - 1)
    encoded = json.dumps(capabilities).encode()
    session_id = kept.create(ONE, path, "2025-11-25", client, encoded)
    assert len(session_id) <= LONGEST
    found = await kept.open(session_id, ONE, path)
    assert set(found.capabilities) <= set(capabilities)
    assert client.startswith(found.client)


async def test_the_largest_of_everything_fits() -> None:
    kept, path = sessions(), "/" + "p" * 199
    session_id = kept.create(ONE, path, "2025-11-25", "🦀" * 91, json.dumps({"x" * 297: {"y": "z"}}).encode())
    assert len(session_id) <= LONGEST
    assert (await kept.open(session_id, ONE, path)).client == "🦀" * 30


def test_small_capabilities_stay_whole_and_large_ones_keep_their_names() -> None:
    small = b'{"elicitation": {"form": {}}}'
    assert shorten(small) == small
    large = json.dumps({"elicitation": {"x": "y" * 5000}, "sampling": {}}).encode()
    assert json.loads(shorten(large)) == {"elicitation": {}, "sampling": {}}


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=200), min_size=3, max_size=20))
def test_what_a_client_offers_servers_survives_the_cut(more: dict[str, str]) -> None:
    offered: dict[str, object] = dict(declare(ALL))
    extensions = {**more, UI_EXTENSION: {**more, "mimeTypes": [UI_TYPE]}}
    whole = {**more, **offered, "extensions": extensions, "padding": "p" * 400}
    cut = shorten(json.dumps(whole).encode())
    assert len(cut) <= 320
    assert read(decode_object(cut)) == ALL


@pytest.mark.parametrize(
    "text",
    ['{"elicitation": {"url": {}, "x": %s}}', '{"sampling": {"tools": 1, "x": %s}}', '{"elicitation": %s}'],
)
def test_a_cut_declares_no_more_than_the_client_did(text: str) -> None:
    encoded = (text % json.dumps("x" * 400)).encode()
    assert read(decode_object(shorten(encoded))) == read(decode_object(encoded))


def test_names_of_extensions_stay_where_they_fit() -> None:
    large = {"extensions": {"a.example/one": {"x": "y" * 400}, "a.example/two": {}}, "experimental": {}}
    kept = json.loads(shorten(json.dumps(large).encode()))
    assert kept == {"extensions": {"a.example/one": {}, "a.example/two": {}}, "experimental": {}}


async def test_an_ended_session_is_unknown_to_every_gateway_with_the_same_state() -> None:
    state = MemoryState()
    kept, other = sessions(state), sessions(state)
    session_id = create(kept)
    session = await kept.open(session_id, ONE, "/mcp")
    await kept.end(session_id, session)
    for each in (kept, other):
        assert each.cached(session_id, ONE, "/mcp") is None
        with pytest.raises(SessionUnknown):
            await each.open(session_id, ONE, "/mcp")


async def test_it_ends_by_itself_after_its_lifetime() -> None:
    clock = VirtualClock()
    kept = sessions(clock=clock)
    session_id = create(kept)
    await kept.open(session_id, ONE, "/mcp")
    clock.advance(LIFETIME)
    assert kept.cached(session_id, ONE, "/mcp") is not None
    clock.advance(1)
    assert kept.cached(session_id, ONE, "/mcp") is None
    with pytest.raises(SessionUnknown):
        await kept.open(session_id, ONE, "/mcp")


async def test_what_was_opened_is_given_without_asking_the_state_again() -> None:
    kept = sessions()
    session_id = create(kept)
    assert kept.cached(session_id, ONE, "/mcp") is None
    found = await kept.open(session_id, ONE, "/mcp")
    assert kept.cached(session_id, ONE, "/mcp") is found


class Stubborn(MemoryState):
    """Drops nothing, until it is told to."""

    drops = False

    async def put(self, key: str, value: bytes | None, *, expires: float | None = None) -> None:
        if value is None and not self.drops:
            raise StateError("the store is busy")
        await super().put(key, value, expires=expires)


class Broken(MemoryState):
    """A state store that does not answer."""

    async def get(self, key: str) -> bytes | None:
        raise StateError("locked")


async def test_what_is_kept_of_a_session_is_there_for_every_gateway_and_after_a_restart() -> None:
    state = MemoryState()
    kept = sessions(state)
    session = await kept.open(session_id := create(kept), ONE, "/mcp")
    assert session.data == {}
    await kept.remember(session, "log_level", b"debug")
    assert session.data == {"log_level": b"debug"}
    assert (await sessions(state).open(session_id, ONE, "/mcp")).data == {"log_level": b"debug"}
    await kept.remember(session, "log_level", None)
    assert session.data == {}
    assert (await sessions(state).open(session_id, ONE, "/mcp")).data == {}


async def test_two_gateways_keep_things_of_one_session_at_once() -> None:
    state = MemoryState()
    gateways, session_id = [sessions(state), sessions(state)], create(sessions())
    opened = [await each.open(session_id, ONE, "/mcp") for each in gateways]
    changes = [
        each.remember(session, f"{name}_{number}", b"x")
        for number in range(4)
        for each, session, name in zip(gateways, opened, "ab", strict=True)
    ]
    await asyncio.gather(*changes)
    assert len((await sessions(state).open(session_id, ONE, "/mcp")).data) == 8


async def test_what_is_kept_of_a_session_is_bounded() -> None:
    kept = sessions()
    session = await kept.open(create(kept), ONE, "/mcp")
    with pytest.raises(StateError):
        await kept.remember(session, "subscriptions", bytes(LARGEST_DATA + 1))
    assert session.data == {}


async def test_what_is_kept_of_a_session_in_use_outlives_any_number_that_were_ended() -> None:
    kept = sessions(state := MemoryState())
    session = await kept.open(session_id := create(kept), ONE, "/mcp")
    await kept.remember(session, "level", b"info")
    for _ in range(ROWS + 50):
        ended = create(kept)
        await kept.end(ended, await kept.open(ended, ONE, "/mcp"))
    assert len(await state.scan("session/")) == ROWS
    assert (await sessions(state).open(session_id, ONE, "/mcp")).data == {"level": b"info"}


async def test_of_sessions_that_are_all_in_use_what_is_kept_of_the_oldest_goes() -> None:
    kept = sessions(state := MemoryState())
    for _ in range(ROWS + 50):
        await kept.remember(await kept.open(create(kept), ONE, "/mcp"), "level", b"info")
    assert len(await state.scan("session/")) == ROWS


async def test_an_end_is_one_though_an_older_row_could_not_be_dropped() -> None:
    kept = sessions(state := Stubborn())
    opened = [(each := create(kept), await kept.open(each, ONE, "/mcp")) for _ in range(ROWS + 2)]
    for session_id, session in opened:
        await kept.end(session_id, session)
    with pytest.raises(SessionUnknown):
        await kept.open(opened[-1][0], ONE, "/mcp")
    state.drops = True
    session_id = create(kept)
    await kept.end(session_id, await kept.open(session_id, ONE, "/mcp"))
    assert len(await state.scan("session/")) == ROWS


async def test_what_is_kept_lasts_while_the_session_is_used_and_a_day_beyond() -> None:
    clock = VirtualClock(1e6)
    state = MemoryState(clock=clock)
    kept = sessions(state, clock=clock)
    session = await kept.open(session_id := create(kept), ONE, "/mcp")
    await kept.remember(session, "log_level", b"info")
    for _ in range(4):
        clock.advance(IDLE * 0.6)
        assert kept.cached(session_id, ONE, "/mcp") or await kept.open(session_id, ONE, "/mcp")
        await kept.sweep()
    assert (await sessions(state, clock=clock).open(session_id, ONE, "/mcp")).data == {"log_level": b"info"}
    clock.advance(IDLE)
    assert (await sessions(state, clock=clock).open(session_id, ONE, "/mcp")).data == {}


async def test_the_end_of_a_session_takes_what_was_kept_of_it_and_is_told() -> None:
    state = MemoryState()
    kept, told = sessions(state), list[tuple[str, str]]()
    kept.when_ended.append(lambda key, principal: told.append((key, principal)))
    session = await kept.open(session_id := create(kept), ONE, "/mcp")
    await kept.remember(session, "log_level", b"info")
    await kept.end(session_id, session)
    assert b"info" not in b"".join(value for _, value in await state.scan(""))
    with pytest.raises(SessionUnknown):
        await kept.remember(session, "log_level", b"debug")
    assert told == [(session.key, ONE.key)]


async def test_a_gateway_that_had_a_session_open_hears_that_another_ended_it() -> None:
    state = MemoryState()
    kept, other, told = sessions(state), sessions(state), asyncio.Event()
    other.when_ended.append(lambda key, principal: told.set())
    session_id = create(kept)
    session = await kept.open(session_id, ONE, "/mcp")
    mirrored = await other.open(session_id, ONE, "/mcp")
    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        running = group.create_task(other.run())
        await asyncio.sleep(0)
        await kept.remember(session, "log_level", b"info")
        while mirrored.data != {"log_level": b"info"}:
            await asyncio.sleep(0)
        await kept.end(session_id, session)
        await told.wait()
        running.cancel()
    assert other.cached(session_id, ONE, "/mcp") is None


async def test_what_is_idle_is_forgotten_and_what_is_used_stays() -> None:
    clock = VirtualClock(1e6)
    kept = sessions(clock=clock)
    ids = [create(kept) for _ in range(3)]
    for each in ids:
        await kept.open(each, ONE, "/mcp")
    clock.advance(3000)
    assert kept.cached(ids[1], ONE, "/mcp")
    clock.advance(3000)
    await kept.sweep()
    assert [kept.cached(each, ONE, "/mcp") is not None for each in ids] == [False, True, False]
    assert await kept.open(ids[0], ONE, "/mcp")


async def test_where_the_state_cannot_be_asked_a_session_counts_as_unknown() -> None:
    with pytest.raises(SessionUnknown):
        await sessions(Broken()).open(create(sessions()), ONE, "/mcp")


async def test_a_session_made_after_a_loss_in_the_same_second_began_after_it() -> None:
    clock = VirtualClock(1000.25)
    kept = sessions(clock=clock)
    session: Session = await kept.open(create(kept), ONE, "/mcp")
    assert session.asker.since == 1000.25
    assert session.asker.session == session.key


async def test_an_id_has_one_spelling_so_that_its_end_is_the_end_of_every_one() -> None:
    kept = sessions()
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    spellings: set[str] = set()
    while not spellings:  # the last letter has bits to spare in two of three lengths
        session_id = create(kept, client="c" * len(spellings))
        at = letters.index(session_id[-1])
        spare = {2: 4, 3: 2}.get(len(session_id) % 4, 0)
        spellings = {session_id[:-1] + letters[at ^ flip] for flip in range(1, 1 << spare)}
        spellings |= {session_id.replace("-", "+").replace("_", "/"), session_id + "="} - {session_id}
    for each in spellings:
        with pytest.raises(SessionUnknown):
            await kept.open(each, ONE, "/mcp")
