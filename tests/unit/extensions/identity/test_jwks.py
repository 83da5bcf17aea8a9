"""Keys of issuers: fetched once for all who wait, kept current, never trusted for longer than said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.servers.issuer import Issuer, issuing, key, sign
from tests.unit.extensions.identity.setting import Clock, Told, Vouching, refusal, until, vouching
from tidegate.domain.errors import IdentityUnavailable, Unauthenticated
from tidegate.extensions.identity.jwks import (
    COOLDOWN,
    LEAST,
    MOST_KEYS,
    UNSAID,
    Bounds,
    Fetched,
    Keys,
    for_signatures,
    lifetime,
    read,
)
from tidegate.extensions.identity.web import Unreachable


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as found:
        yield found


@pytest.fixture
async def vouch(issuer: Issuer) -> AsyncIterator[Vouching]:
    async with vouching(issuer) as found:
        assert await found(issuer.token()) is not None
        yield found


async def test_all_who_wait_for_keys_cause_one_request(issuer: Issuer) -> None:
    issuer.gate = asyncio.Event()
    async with vouching(issuer) as vouch:
        tokens = [asyncio.create_task(vouch(issuer.token(jti=str(number)))) for number in range(200)]
        await until(lambda: issuer.asked, "the issuer to be asked")
        issuer.gate.set()
        vouched = await asyncio.gather(*tokens)
    assert all(vouched)
    assert issuer.times("/jwks") == 1


async def test_a_new_key_is_found_at_once_and_by_one_look_for_all(issuer: Issuer, vouch: Vouching) -> None:
    vouch.clock.ahead = COOLDOWN
    new = key("k2", "RSA")
    issuer.keys.append(new)
    issuer.gate = asyncio.Event()
    tokens = [asyncio.create_task(vouch(sign(issuer.claims(), new, "RS256"))) for _ in range(100)]
    await until(lambda: issuer.times("/jwks") == 2, "a second look")
    issuer.gate.set()
    assert all(await asyncio.gather(*tokens))
    assert issuer.times("/jwks") == 2
    assert vouch.version == 0, "nothing was taken back"


async def test_made_up_keys_cause_one_look_in_a_while(issuer: Issuer, vouch: Vouching) -> None:
    vouch.clock.ahead = COOLDOWN
    for number in range(300):
        said = await refusal(vouch, sign(issuer.claims(), key("k1"), kid=f"made-up-{number}"))
        assert said == "Unauthenticated: the token is signed with a key that its issuer does not have"
    assert issuer.times("/jwks") == 2
    assert await vouch(issuer.token()) is not None, "good tokens go on meanwhile"


async def test_a_key_that_is_taken_back_is_refused_after_the_next_look(
    issuer: Issuer, vouch: Vouching
) -> None:
    old, new = issuer.key, key("k2")
    issuer.keys, issuer.key = [new], new
    assert await vouch(sign(issuer.claims(), old)) is not None, "until then it is believed"
    vouch.clock.ahead = COOLDOWN
    assert await vouch(issuer.token()) is not None
    assert "a key that its issuer does not have" in await refusal(vouch, sign(issuer.claims(), old))
    assert vouch.version == 1, "what was vouched for before is asked anew"
    assert vouch.told.events[-1] == (
        "identity.keys_refreshed",
        {"issuer": issuer.url, "keys": 1, "gone": 1},
    )


async def test_a_key_replaced_under_its_name_counts_as_taken_back(issuer: Issuer, vouch: Vouching) -> None:
    old = issuer.key
    issuer.key = key("k1")
    issuer.keys = [issuer.key]
    vouch.clock.ahead = 3 * 3600
    assert await vouch(issuer.token(exp=int(vouch.clock()) + 60, iat=None)) is not None
    assert vouch.version == 1
    forged = sign(issuer.claims(exp=int(vouch.clock()) + 60, iat=None), old)
    assert "signature is not its issuer's" in await refusal(vouch, forged)


async def test_an_issuer_that_takes_all_its_keys_back_is_believed(issuer: Issuer, vouch: Vouching) -> None:
    issuer.jwks = b'{"keys": []}'
    vouch.clock.ahead = COOLDOWN
    await refusal(vouch, sign(issuer.claims(), key("k9")))
    assert "a key that its issuer does not have" in await refusal(vouch, issuer.token())


async def test_the_last_keys_serve_while_the_issuer_is_down_and_no_longer_than_said(issuer: Issuer) -> None:
    async with vouching(issuer, outage="2h") as vouch:
        first = await vouch(issuer.token(exp=int(vouch.clock()) + 80_000))
        assert first is not None
        assert first.expires is not None
        assert first.expires - vouch.clock() <= 7200, "no longer than the keys are good for"
        issuer.status = 503
        vouch.clock.ahead = 7000
        late = issuer.claims(iat=None, exp=int(vouch.clock()) + 60)
        assert await vouch(sign(late, issuer.key)) is not None
        said = await refusal(vouch, sign(late, key("other")))
        assert said.startswith("IdentityUnavailable"), "nobody can tell whether it has that key"
        vouch.clock.ahead = 7300
        late = issuer.claims(iat=None, exp=int(vouch.clock()) + 60)
        assert (await refusal(vouch, sign(late, issuer.key))).startswith(
            "IdentityUnavailable: the keys of the issuer"
        )
        assert "identity.unavailable" in vouch.told.names()


async def test_an_issuer_that_comes_back_is_believed_again(issuer: Issuer) -> None:
    issuer.status = 503
    async with vouching(issuer) as vouch:
        assert (await refusal(vouch, issuer.token())).startswith("IdentityUnavailable")
        asked = len(issuer.asked)
        for _ in range(50):
            assert (await refusal(vouch, issuer.token())).startswith("IdentityUnavailable")
        assert len(issuer.asked) <= asked + 20, "it is left in peace meanwhile"
        issuer.status = 200
        vouch.clock.ahead = COOLDOWN
        assert await vouch(issuer.token()) is not None


async def test_keys_are_looked_at_again_after_the_machine_slept(issuer: Issuer, vouch: Vouching) -> None:
    old, issuer.key = issuer.key, key("k2")
    issuer.keys = [issuer.key]
    vouch.clock.ahead = 8 * 3600
    late = issuer.claims(iat=None, exp=int(vouch.clock()) + 60)
    assert "does not have" in await refusal(vouch, sign(late, old))


# -- what is told apart from a key set --------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b"<html>",
        b'{"keys": [], "keys": []}',
        b'{"keys": [' + b"{}," * MOST_KEYS + b"{}]}",
    ],
)
async def test_what_is_no_key_set_changes_nothing(issuer: Issuer, vouch: Vouching, body: bytes) -> None:
    issuer.jwks = body or b" "
    vouch.clock.ahead = COOLDOWN
    said = await refusal(vouch, sign(issuer.claims(), key("k9")))
    assert said.startswith("IdentityUnavailable")
    assert await vouch(issuer.token()) is not None


async def test_an_answer_that_is_too_large_is_cut_off(issuer: Issuer, vouch: Vouching) -> None:
    issuer.jwks = b'{"keys": [], "x": "' + b"x" * 600_000 + b'"}'
    vouch.clock.ahead = COOLDOWN
    assert (await refusal(vouch, sign(issuer.claims(), key("k9")))).startswith("IdentityUnavailable")
    assert "more than 524288 bytes" in str(vouch.told.events[-1])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(issuer: Issuer, vouch: Vouching, status: int) -> None:
    issuer.status = status
    vouch.clock.ahead = COOLDOWN
    await refusal(vouch, sign(issuer.claims(), key("k9")))
    assert "/elsewhere" not in issuer.asked


def keys_of(*jwks: Mapping[str, Any]) -> int:
    return len(read(json.dumps({"keys": jwks}).encode(), for_signatures))


def test_keys_that_cannot_or_must_not_verify_are_left_out() -> None:
    good = key("a", "RSA").as_dict(private=False)
    assert keys_of(good, key("b").as_dict(private=False)) == 2
    assert keys_of({**good, "use": "enc"}, {**good, "key_ops": ["encrypt"]}) == 0
    assert keys_of(key("a", "RSA").as_dict(private=True), key("a").as_dict(private=True)) == 0
    assert keys_of(key("a", "oct").as_dict(private=True)) == 0
    assert keys_of({**good, "kid": 7}, {**good, "kid": ""}, {**good, "kid": "x" * 600}) == 0
    assert keys_of({**good, "alg": "RSA-OAEP"}, {**good, "alg": "HS256"}, {**good, "alg": "ES256"}) == 0
    assert keys_of({**good, "n": good["n"][:170]}) == 0, "1024 bits"
    assert keys_of({**good, "n": good["n"] * 5}) == 0, "10240 bits"
    assert keys_of({**good, "e": "AQ"}, {**good, "e": "A" * 200}) == 0
    curve = key("c").as_dict(private=False)
    assert keys_of({**curve, "x": curve["y"]}) == 0, "a point beside its curve"
    assert keys_of({**curve, "crv": "secp256k1"}, {"kty": "EC"}, {"kty": 7}, {}) == 0


async def test_a_signature_that_names_no_key_is_tried_with_few() -> None:
    several = [key(None) for _ in range(4)]
    async with issuing(key=several[3], keys=several) as issuer, vouching(issuer) as vouch:
        assert await vouch(issuer.token()) is not None
        issuer.keys.append(key(None))
        vouch.clock.ahead = 8 * 3600
        late = issuer.claims(iat=None, exp=int(vouch.clock()) + 60)
        assert "does not have" in await refusal(vouch, sign(late, issuer.key))


# -- for how long -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, UNSAID),
        ({"cache-control": "max-age=1800"}, 1800),
        ({"cache-control": "public, max-age=1800, must-revalidate", "age": "800"}, 1000),
        ({"cache-control": "Max-Age=900"}, 900),
        ({"cache-control": "max-age=99999999"}, 3600),
        ({"cache-control": "max-age=1"}, LEAST),
        ({"cache-control": "max-age=0, no-store"}, LEAST),
        ({"cache-control": "no-cache, max-age=3000"}, LEAST),
        ({"cache-control": "max-age=100", "age": "x"}, 100),
        ({"cache-control": "max-age=100", "age": "1000"}, LEAST),
        ({"cache-control": "s-maxage=5, private"}, UNSAID),
    ],
)
def test_keys_are_fresh_for_as_long_as_the_issuer_says_within_bounds(
    headers: dict[str, str], seconds: float
) -> None:
    assert lifetime(headers, 3600.0) == seconds


async def test_the_next_look_comes_before_keys_end_and_after_failures_ever_later() -> None:
    answers: list[Fetched | Unreachable] = []

    async def fetch() -> Fetched:
        answer = answers.pop(0)
        if isinstance(answer, Unreachable):
            raise answer
        return answer

    clock = Clock()
    keys = Keys(fetch, name="x", tell=Told(), clock=clock, bounds=Bounds(fresh=3600))
    good = json.dumps({"keys": [key("a").as_dict(private=False)]}).encode()
    answers.append(Fetched(good, {"cache-control": "max-age=1000"}))
    await keys.refresh()
    assert 700 <= keys.due() <= 800
    waits: list[float] = []
    for _ in range(8):
        answers.append(Unreachable("no"))
        await keys.refresh()
        waits.append(keys.due())
    assert waits[0] <= 2 < waits[2]
    assert 50 < waits[-1] <= 60


async def test_a_fault_while_fetching_is_an_issuer_that_is_down_and_the_next_look_comes() -> None:
    async def fetch() -> Fetched:
        raise RuntimeError("secret")

    told = Told()
    keys = Keys(fetch, name="x", tell=told, clock=Clock())
    running = asyncio.create_task(keys.run())
    try:
        with pytest.raises(IdentityUnavailable):
            await keys.find("a", "ES256")
    finally:
        running.cancel()
    assert told.events[0][0] == "identity.unavailable"
    assert "secret" not in str(told.events)


async def test_failures_are_logged_ever_more_rarely() -> None:
    async def fetch() -> Fetched:
        raise Unreachable("no")

    told = Told()
    keys = Keys(fetch, name="x", tell=told, clock=Clock())
    for _ in range(20):
        await keys.refresh()
    assert [fields["attempts"] for _, fields in told.events] == [1, 2, 4, 8, 16]


async def test_an_unknown_key_is_no_reason_to_wait_where_the_keys_are_fresh(
    issuer: Issuer, vouch: Vouching
) -> None:
    issuer.gate = asyncio.Event()
    with pytest.raises(Unauthenticated):
        await vouch(sign(issuer.claims(), key("k9")))
    assert issuer.times("/jwks") == 1
