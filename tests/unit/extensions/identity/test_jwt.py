"""Signed tokens: which are taken, as whom and until when; and every known way to forge one."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.servers.issuer import Issuer, b64, issuing, key, sign
from tests.unit.extensions.identity.setting import RESOURCE, Vouching, bearing, model, refusal, vouching
from tidegate.domain.errors import Unauthenticated
from tidegate.extensions.identity.confirmation import Confirmation, Presented
from tidegate.ports.identity import Credentials


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as found:
        yield found


@pytest.fixture
async def vouch(issuer: Issuer) -> AsyncIterator[Vouching]:
    async with vouching(issuer) as found:
        yield found


async def test_a_good_token_vouches_for_its_subject_until_its_end(issuer: Issuer, vouch: Vouching) -> None:
    claims = issuer.claims()
    vouched = await vouch(sign(claims, issuer.key))
    assert vouched is not None
    principal = vouched.principal
    assert (principal.tenant, principal.issuer, principal.subject) == ("default", issuer.url, "alice")
    assert (principal.client, principal.roles, principal.groups) == ("desk", frozenset(), frozenset())
    assert vouched.expires == claims["exp"] + 30
    assert vouched.credential == "t-1"
    assert vouched.scopes == {"claims:read"}
    assert vouched.prove is None


@pytest.mark.parametrize(
    ("kind", "alg"),
    [
        ("RSA", "RS256"),
        ("RSA", "PS256"),
        ("EC", "ES256"),
        ("EC384", "ES384"),
        ("OKP", "EdDSA"),
        ("OKP", "Ed25519"),
    ],
)
async def test_every_kind_of_key_verifies_what_it_signed(kind: str, alg: str) -> None:
    by = key("k", kind)
    async with issuing(key=by) as issuer, vouching(issuer) as vouch:
        assert await vouch(sign(issuer.claims(), by, alg)) is not None


async def test_the_scheme_may_be_written_in_any_case(issuer: Issuer, vouch: Vouching) -> None:
    assert await vouch(issuer.token(), scheme="bEARER") is not None


@pytest.mark.parametrize(
    "token", ["tg_abc", "opaque", "a.b", "a.b.c", "e30.e30.", "a.b.c.d.e", "", "e30.W10.AA"]
)
async def test_what_is_no_signed_token_is_left_to_others(vouch: Vouching, token: str) -> None:
    assert await vouch(token) is None


async def test_a_token_of_another_issuer_is_left_to_others(issuer: Issuer, vouch: Vouching) -> None:
    for other in ("https://other.example", issuer.url + "/", issuer.url.upper(), None, 7, [issuer.url]):
        assert await vouch(issuer.token(iss=other)) is None
    assert issuer.times("/jwks") <= 1


async def test_other_schemes_are_left_to_others(issuer: Issuer, vouch: Vouching) -> None:
    for header in (
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic " + issuer.token().encode(),
        issuer.token().encode(),
    ):
        assert await vouch.identities[0].authenticate(Credentials(header, "", RESOURCE)) is None


# -- forged signatures ----------------------------------------------------------------------------


async def test_the_algorithm_none_is_refused_however_it_is_written(issuer: Issuer, vouch: Vouching) -> None:
    for alg in ("none", "None", "NONE", "nOnE", ""):
        for signature in ("", "AA"):
            token = f"{b64({'alg': alg, 'typ': 'at+jwt', 'kid': 'k1'})}.{b64(issuer.claims())}.{signature}"
            assert "in a way that is not taken" in await refusal(vouch, token)


async def test_a_public_key_is_no_secret_to_sign_with() -> None:
    public = key("k1", "RSA")
    async with issuing(key=public) as issuer, vouching(issuer) as vouch:
        pem = public.as_pem(private=False)  # type: ignore[union-attr] - an RSA key
        for secret in (pem, pem.strip(), issuer.public()):
            signed = f"{b64({'alg': 'HS256', 'kid': 'k1', 'typ': 'at+jwt'})}.{b64(issuer.claims())}"
            forged = f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"
            assert "in a way that is not taken" in await refusal(vouch, forged)


async def test_hmac_cannot_even_be_allowed() -> None:
    for alg in ("HS256", "none"):
        with pytest.raises(ValueError, match="Input should be 'RS256'"):
            model(type="jwt", issuer="https://id.example", algorithms=[alg])


async def test_a_secret_among_the_keys_of_an_issuer_verifies_nothing() -> None:
    secret, good = key("s", "oct"), key("k1")
    async with issuing(key=good, keys=[good]) as issuer, vouching(issuer) as vouch:
        published = [good.as_dict(private=False), secret.as_dict(private=True)]
        issuer.jwks = json.dumps({"keys": published}).encode()
        assert "in a way that is not taken" in await refusal(vouch, sign(issuer.claims(), secret, "HS256"))


async def test_a_key_is_used_with_algorithms_of_its_kind_only() -> None:
    rsa = key("k1", "RSA", alg="RS256")
    async with issuing(key=rsa) as issuer, vouching(issuer) as vouch:
        assert await vouch(sign(issuer.claims(), rsa, "RS256")) is not None
        assert "a key that its issuer does not have" in await refusal(
            vouch, sign(issuer.claims(), rsa, "PS256")
        )
        forged = sign(issuer.claims(), key("k1"), "ES256")
        assert "a key that its issuer does not have" in await refusal(vouch, forged)


async def test_an_algorithm_that_the_settings_leave_out_is_refused() -> None:
    async with issuing() as issuer, vouching(issuer, algorithms=["RS256"]) as vouch:
        assert "in a way that is not taken" in await refusal(vouch, issuer.token())


async def test_a_key_in_the_header_is_refused_and_nothing_is_fetched_for_it(issuer: Issuer) -> None:
    evil = key("evil")
    async with issuing() as elsewhere, vouching(issuer) as vouch:
        elsewhere.keys = [evil]
        for header in (
            {"jwk": evil.as_dict(private=False)},
            {"jku": f"{elsewhere.url}/jwks"},
            {"x5u": f"{elsewhere.url}/jwks"},
            {"x5c": [base64.b64encode(b"x").decode()]},
        ):
            said = await refusal(vouch, sign(issuer.claims(), evil, "ES256", **header))
            assert "brings the key" in said
        assert elsewhere.asked == []


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"zip": "DEF"}])
async def test_a_header_that_changes_the_meaning_is_refused(
    issuer: Issuer, vouch: Vouching, header: dict[str, Any]
) -> None:
    assert "asks for what is not understood" in await refusal(
        vouch, sign(issuer.claims(), issuer.key, **header)
    )


async def test_another_key_of_the_same_name_is_refused(issuer: Issuer, vouch: Vouching) -> None:
    assert "signature is not its issuer's" in await refusal(vouch, sign(issuer.claims(), key("k1")))


async def test_a_changed_token_is_refused(issuer: Issuer, vouch: Vouching) -> None:
    head, claims, signature = issuer.token().split(".")
    other = b64(issuer.claims(sub="mallory"))
    assert "signature is not" in await refusal(vouch, f"{head}.{other}.{signature}")
    assert "signature is not" in await refusal(vouch, f"{head}.{claims}.{'A' * 86}")
    assert "signature is not" in await refusal(vouch, f"{head}.{claims}.")
    assert "signature is not" in await refusal(vouch, f"{head}.{claims}.AAAA")


async def test_claims_that_can_be_read_in_two_ways_are_no_token(issuer: Issuer, vouch: Vouching) -> None:
    text = json.dumps(issuer.claims())
    twice = f'{text[:-1]}, "sub": "mallory"}}'.encode()
    assert await vouch(sign(twice, issuer.key)) is None
    deep = f'{text[:-1]}, "x": {"[" * 64}{"]" * 64}}}'.encode()
    assert await vouch(sign(deep, issuer.key)) is None
    infinite = f'{text[:-1]}, "x": Infinity}}'.encode()
    assert await vouch(sign(infinite, issuer.key)) is None


async def test_a_token_that_is_too_long_is_no_token(issuer: Issuer, vouch: Vouching) -> None:
    assert await vouch(issuer.token(filler="x" * 16_000)) is None


# -- another purpose ------------------------------------------------------------------------------


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt", None])
async def test_types_of_access_tokens_are_taken(issuer: Issuer, vouch: Vouching, typ: str | None) -> None:
    assert await vouch(sign(issuer.claims(), issuer.key, typ=typ)) is not None


@pytest.mark.parametrize("typ", ["logout+jwt", "dpop+jwt", "oauth-id-jag+jwt", "id_token", "secevent+jwt", 7])
async def test_other_types_are_refused(issuer: Issuer, vouch: Vouching, typ: object) -> None:
    assert "no access token" in await refusal(vouch, sign(issuer.claims(), issuer.key, typ=typ))


async def test_an_issuer_can_be_held_to_one_type(issuer: Issuer) -> None:
    async with vouching(issuer, types=["at+jwt"]) as vouch:
        assert await vouch(issuer.token()) is not None
        assert "no access token" in await refusal(vouch, sign(issuer.claims(), issuer.key, typ="JWT"))
        assert "no access token" in await refusal(vouch, sign(issuer.claims(), issuer.key, typ=None))


async def test_a_logout_token_is_refused_though_it_is_typed_as_any(issuer: Issuer, vouch: Vouching) -> None:
    events = {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert "tells of an event" in await refusal(vouch, issuer.token(events=events))


@pytest.mark.parametrize(
    "aud",
    [
        None,
        "",
        "https://gw.example/other",
        "https://gw.example",
        "https://gw.example/mcp/",
        "https://GW.example/mcp",
        "https://gw.example/mcp/../mcp",
        [],
        ["https://other.example"],
        [["https://gw.example/mcp"]],
        {"https://gw.example/mcp": 1},
        True,
    ],
)
async def test_a_token_for_somebody_else_is_refused(issuer: Issuer, vouch: Vouching, aud: object) -> None:
    assert "not issued for this resource" in await refusal(vouch, issuer.token(aud=aud))


async def test_a_token_for_one_endpoint_is_not_good_at_another(issuer: Issuer, vouch: Vouching) -> None:
    token = issuer.token()
    assert await vouch(token, "https://gw.example/mcp") is not None
    assert "not issued for this resource" in await refusal(vouch, token, "https://gw.example/admin")
    assert "not issued for this resource" in await refusal(vouch, token, "")


async def test_nobody_is_an_audience_without_a_name(issuer: Issuer, vouch: Vouching) -> None:
    assert "not issued for this resource" in await refusal(vouch, issuer.token(aud=""), "")


async def test_audiences_of_the_settings_are_good_at_every_endpoint(issuer: Issuer) -> None:
    async with vouching(issuer, audience="api://tidegate") as vouch:
        token = issuer.token(aud=["x", "api://tidegate"])
        assert await vouch(token, "https://gw.example/admin") is not None
        assert await vouch(issuer.token()) is not None


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"exp": -31}, "has expired"),
        ({"exp": None}, "has no end"),
        ({"nbf": 60}, "not good yet"),
        ({"iat": 60}, "issued in the future"),
        ({"exp": 100_000}, "good for longer"),
        ({"exp": 100_000, "iat": None}, "good for longer"),
    ],
)
async def test_a_token_is_good_at_its_time_only(
    issuer: Issuer, vouch: Vouching, claims: dict[str, int | None], said: str
) -> None:
    now = int(time.time())
    moved = {name: None if value is None else now + value for name, value in claims.items()}
    assert said in await refusal(vouch, issuer.token(**moved))


async def test_an_old_token_is_held_against_nobody_unless_it_is_forged(
    issuer: Issuer, vouch: Vouching
) -> None:
    old = issuer.claims(exp=int(time.time()) - 3600)
    for token, counts in ((sign(old, issuer.key), False), (sign(old, key("k1")), True)):
        with pytest.raises(Unauthenticated) as refused:
            await vouch(token)
        assert refused.value.counts is counts


@pytest.mark.parametrize("claims", [{"exp": -20}, {"nbf": 20}, {"iat": 20}, {"iat": None}])
async def test_clocks_may_be_a_little_apart(
    issuer: Issuer, vouch: Vouching, claims: dict[str, int | None]
) -> None:
    now = int(time.time())
    moved = {name: None if value is None else now + value for name, value in claims.items()}
    assert await vouch(issuer.token(**moved)) is not None


@pytest.mark.parametrize("exp", ["2100-01-01", "4102444800", True, [4102444800], {}, 1e300, -5])
async def test_what_is_no_time_is_refused(issuer: Issuer, vouch: Vouching, exp: object) -> None:
    said = await refusal(vouch, issuer.token(exp=exp))
    assert "is no time" in said or "has no end" in said


# -- binding --------------------------------------------------------------------------------------


async def test_a_token_that_is_bound_to_a_key_is_refused_where_nobody_can_prove_it(
    issuer: Issuer, vouch: Vouching
) -> None:
    for cnf in ({"jkt": "a" * 43}, {"x5t#S256": "a" * 43}):
        assert "cannot be proved here" in await refusal(vouch, issuer.token(cnf=cnf))
    assert "cannot be proved here" in await refusal(vouch, issuer.token(), scheme="DPoP")


@pytest.mark.parametrize(
    "cnf", [{}, {"jwk": {}}, {"kid": "x"}, {"jkt": "a" * 43, "jwe": "x"}, "x", None, {"jkt": 7}]
)
async def test_a_binding_that_is_not_understood_is_refused(issuer: Issuer, cnf: object) -> None:
    async with vouching(issuer, bind=lambda presented: None) as vouch:
        claims = {**issuer.claims(), "cnf": cnf}
        assert await refusal(vouch, sign(claims, issuer.key))


async def test_whoever_proves_is_told_the_token_and_what_it_is_bound_to(issuer: Issuer) -> None:
    seen: list[Presented] = []

    def prove(credentials: Credentials) -> None:
        raise Unauthenticated("no proof")

    def bind(presented: Presented) -> Any:
        seen.append(presented)
        return prove

    async with vouching(issuer, bind=bind) as vouch:
        token = issuer.token(cnf={"jkt": "k" * 43, "x5t#S256": "c" * 43})
        vouched = await vouch(token, scheme="DPoP")
        assert vouched is not None
        assert seen == [Presented(token, "dpop", Confirmation(certificate="c" * 43, key="k" * 43))]
        assert vouched.prove is not None
        with pytest.raises(Unauthenticated, match="no proof"):
            vouched.prove(bearing(token, "DPoP"))


async def test_refusals_hold_nothing_of_the_token(issuer: Issuer, vouch: Vouching) -> None:
    for token in (
        issuer.token(aud="https://secret.example"),
        sign(issuer.claims(sub="secret"), key("secret")),
    ):
        assert "secret" not in await refusal(vouch, token)
