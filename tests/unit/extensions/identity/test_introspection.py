"""Opaque tokens: what their issuer says of them, how often it is asked, and what becomes of them while it is down."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.servers.issuer import Issuer, issuing, key, sign
from tests.unit.extensions.identity.setting import RESOURCE, Vouching, bearing, refusal, until, vouching
from tidegate.access.attempts import GUESSES, GUESSES_IN
from tidegate.access.authenticate import Authenticator
from tidegate.domain.errors import Unauthenticated
from tidegate.extensions.identity.introspection import AT_ONCE, BAD_AGE, MOST_BAD, REST

CLIENT = {"type": "introspection", "client_id": "gate way", "client_secret": "s:e%c/r&t"}


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as found:
        found.active = {"good": {**found.claims(), "active": True, "groups": ["g"]}}
        yield found


@pytest.fixture
async def vouch(issuer: Issuer) -> AsyncIterator[Vouching]:
    async with vouching(issuer, **CLIENT, roles={"claims": "groups"}) as found:
        yield found


async def test_an_active_token_vouches_for_its_subject_for_a_short_while(
    issuer: Issuer, vouch: Vouching
) -> None:
    vouched = await vouch("good")
    assert vouched is not None
    assert (vouched.principal.issuer, vouched.principal.subject) == (issuer.url, "alice")
    assert (vouched.principal.roles, vouched.scopes) == ({"g"}, {"claims:read"})
    assert vouched.expires is not None
    assert vouch.clock() + 50 < vouched.expires <= vouch.clock() + 60


async def test_the_gateway_shows_who_it_is(issuer: Issuer, vouch: Vouching) -> None:
    await vouch("good")
    pair = base64.b64encode(b"gate+way:s%3Ae%25c%2Fr%26t").decode()
    assert issuer.headers[-1]["Authorization"] == f"Basic {pair}"
    assert issuer.forms == [{"token": "good", "token_type_hint": "access_token"}]
    async with vouching(issuer, **CLIENT, method="post", url=f"{issuer.url}/introspect") as other:
        await other("good")
    assert "Authorization" not in issuer.headers[-1]
    assert issuer.forms[-1]["client_secret"] == "s:e%c/r&t"


async def test_a_token_is_asked_about_once_however_many_bring_it(issuer: Issuer, vouch: Vouching) -> None:
    issuer.gate = asyncio.Event()
    calls = [asyncio.create_task(vouch("good")) for _ in range(100)]
    await until(lambda: issuer.asked, "a question")
    issuer.gate.set()
    assert all(await asyncio.gather(*calls))
    assert await vouch("good") is not None
    assert issuer.times("/introspect") == 1


async def test_a_good_answer_is_asked_for_again_after_a_while(issuer: Issuer, vouch: Vouching) -> None:
    await vouch("good")
    issuer.active.clear()
    assert await vouch("good") is not None, "until then it is believed"
    vouch.clock.ahead = 61
    assert "not active" in await refusal(vouch, "good")


async def test_a_bad_answer_is_kept_for_a_few_seconds(issuer: Issuer, vouch: Vouching) -> None:
    for _ in range(20):
        assert "not active" in await refusal(vouch, "new")
    assert issuer.times("/introspect") == 1
    issuer.active["new"] = issuer.active["good"]
    vouch.clock.ahead = BAD_AGE + 1
    assert await vouch("new") is not None


async def test_a_token_ends_when_the_issuer_says(issuer: Issuer, vouch: Vouching) -> None:
    issuer.active["good"]["exp"] = int(vouch.clock()) + 5
    vouched = await vouch("good")
    assert vouched is not None
    assert vouched.expires is not None
    assert vouched.expires <= vouch.clock() + 5 + 30
    vouch.clock.ahead = 36
    assert "has expired" in await refusal(vouch, "good")


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"active": "true"}, "not active"),
        ({"active": 1}, "not active"),
        ({"aud": "https://gw.example/other"}, "not issued for this resource"),
        ({"aud": None}, "not issued for this resource"),
        ({"iss": "https://other.example"}, "of another issuer"),
        ({"sub": None}, "whom it is about"),
        ({"exp": 1}, "has expired"),
        ({"nbf": 2**40}, "not good yet"),
        ({"cnf": {"jkt": "a" * 43}}, "cannot be proved here"),
    ],
)
async def test_an_active_token_is_not_good_for_everything(
    issuer: Issuer, vouch: Vouching, claims: dict[str, Any], said: str
) -> None:
    issuer.active["good"] |= claims
    assert said in await refusal(vouch, "good")


async def test_an_answer_for_one_endpoint_is_not_good_at_another(issuer: Issuer, vouch: Vouching) -> None:
    assert await vouch("good", RESOURCE) is not None
    assert "not issued for this resource" in await refusal(vouch, "good", "https://gw.example/admin")


async def test_nobody_else_is_shown_what_is_not_its_own(issuer: Issuer, vouch: Vouching) -> None:
    foreign = sign(issuer.claims(iss="https://other.example"), key("k"))
    for token in ("tg_aaaaaaaaaaaa_secret", foreign, "with blank", "ümlaut", "a=b"):
        assert await vouch(token) is None
    assert issuer.asked == []
    own = issuer.token()
    issuer.active[own] = issuer.active["good"]
    assert await vouch(own) is not None, "its signed tokens it may be asked about"


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 429, 500, 503])
async def test_an_issuer_that_does_not_answer_is_one_that_is_down(
    issuer: Issuer, vouch: Vouching, status: int
) -> None:
    assert await vouch("good") is not None
    issuer.active["other"] = issuer.active["good"]
    issuer.status = status
    assert (await refusal(vouch, "other")).startswith("IdentityUnavailable")
    asked = issuer.times("/introspect")
    assert (await refusal(vouch, "third")).startswith("IdentityUnavailable")
    assert issuer.times("/introspect") == asked, "it is left in peace for a moment"
    assert await vouch("good") is not None, "what it said before still holds"
    issuer.status = 200
    vouch.clock.ahead = REST
    assert await vouch("other") is not None
    assert vouch.told.names() == ["identity.unavailable"]


async def test_no_secret_is_told_when_it_is_refused(issuer: Issuer, vouch: Vouching) -> None:
    await vouch("good")
    issuer.status = 401
    said = await refusal(vouch, "some-token")
    assert "does not take the gateway's own client_id" in str(vouch.told.events)
    for secret in ("s:e%c", "some-token"):
        assert secret not in said + str(vouch.told.events)


async def test_an_address_has_no_more_asked_than_it_may_guess_whatever_its_tokens_look_like(
    issuer: Issuer, vouch: Vouching
) -> None:
    access = Authenticator(vouch.identities, vouch.clock)
    good = sign({"jti": "good"}, key("k"))
    issuer.active[good] = issuer.active["good"]
    looking_signed = [sign({"jti": str(number)}, key("k")) for number in range(GUESSES + AT_ONCE)]
    for token in looking_signed:
        with pytest.raises(Unauthenticated):
            await access.authenticate(bearing(token))
    assert issuer.times("/introspect") == GUESSES
    with pytest.raises(Unauthenticated, match="too many"):
        await access.authenticate(bearing(good))
    vouch.clock.ahead = GUESSES_IN
    assert (await access.authenticate(bearing(good))).principal.subject == "alice"


async def test_guesses_that_come_all_at_once_are_bounded_too(issuer: Issuer, vouch: Vouching) -> None:
    access = Authenticator(vouch.identities, vouch.clock)
    tries = [access.authenticate(bearing(f"guess-{number}")) for number in range(3 * (GUESSES + AT_ONCE))]
    found = await asyncio.gather(*tries, return_exceptions=True)
    assert all(isinstance(each, Unauthenticated) for each in found)
    assert GUESSES <= issuer.times("/introspect") <= GUESSES + AT_ONCE


async def test_a_token_that_says_itself_that_it_is_over_is_nobody_asked_about(
    issuer: Issuer, vouch: Vouching
) -> None:
    access = Authenticator(vouch.identities, vouch.clock)
    now = int(vouch.clock())
    for number in range(GUESSES + 1):
        with pytest.raises(Unauthenticated, match="has expired"):
            await access.authenticate(bearing(issuer.token(exp=now - 60, jti=str(number))))
    assert issuer.asked == []
    assert (await access.authenticate(bearing("good"))).principal.subject == "alice", "they were no guesses"


async def test_answers_that_are_kept_are_bounded(issuer: Issuer) -> None:
    async with vouching(issuer, **CLIENT, url=f"{issuer.url}/introspect") as vouch:
        assert await vouch("good") is not None
        for number in range(MOST_BAD + 1):
            await refusal(vouch, f"guess-{number}")
        asked = issuer.times("/introspect")
        await refusal(vouch, f"guess-{MOST_BAD}")
        assert await vouch("good") is not None, "guesses push out nothing that is good"
        assert issuer.times("/introspect") == asked
        await refusal(vouch, "guess-0")
        assert issuer.times("/introspect") == asked + 1, "the oldest is forgotten"
