"""A legacy session id carries what `initialize` fixed, sealed and bound, and survives its gateway."""

from __future__ import annotations

import base64
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.errors import SessionUnknown, StateError
from tidegate.domain.principal import Principal
from tidegate.extensions.state.memory import MemoryState
from tidegate.gateway.sessions import LIFETIME, LONGEST, Session, Sessions, shorten
from tidegate.testing.clock import VirtualClock

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
    assert found.capabilities == b'{"roots":{}}'
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
    assert set(json.loads(found.capabilities)) <= set(capabilities)
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


class Broken(MemoryState):
    """A state store that does not answer."""

    async def get(self, key: str) -> bytes | None:
        raise StateError("locked")


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
