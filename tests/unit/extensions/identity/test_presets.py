"""Presets: tokens in the form that each issuer documents, and its other tokens, which are none for us."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest

from tests.servers.issuer import Issuer, Key, issuing, key, sign
from tests.unit.extensions.identity.setting import refusal, vouching
from tidegate.domain.principal import Principal
from tidegate.extensions.identity.presets import PRESETS
from tidegate.settings.claims import Preset
from tidegate.settings.identity import JwtModel

TID = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
AWS = "https://sts.amazonaws.com/"


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as found:
        yield found


def test_the_settings_and_the_presets_name_the_same() -> None:
    assert set(get_args(Preset)) == set(PRESETS)


async def principal(issuer: Issuer, claims: dict[str, Any], **settings: Any) -> Principal:
    async with vouching(issuer, **settings) as vouch:
        vouched = await vouch(issuer.token(scope=None, client_id=None, **claims))
        assert vouched is not None
        return vouched.principal


ENTRA = {
    "sub": "pairwise",
    "oid": "o-1",
    "tid": TID,
    "azp": "app-1",
    "scp": "Calls.Do",
    "roles": ["Adjuster"],
}


async def test_entra_people_are_known_by_their_object_id(issuer: Issuer) -> None:
    found = await principal(issuer, {**ENTRA, "groups": ["g-1"]}, preset="entra")
    assert (found.subject, found.client, found.roles, found.groups) == ("o-1", "app-1", {"Adjuster"}, {"g-1"})


async def test_entra_tokens_of_version_1_name_the_client_otherwise(issuer: Issuer) -> None:
    claims = {name: value for name, value in ENTRA.items() if name != "azp"}
    assert (await principal(issuer, {**claims, "appid": "app-1"}, preset="entra")).client == "app-1"
    async with vouching(issuer, preset="entra") as vouch:
        assert "an ID token, perhaps" in await refusal(vouch, issuer.token(client_id=None, **claims))


async def test_entra_says_that_groups_were_left_out(issuer: Issuer) -> None:
    async with vouching(issuer, preset="entra") as vouch:
        over = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph"}}}
        assert "leaves out groups, since there are too many" in await refusal(
            vouch, issuer.token(**ENTRA, **over)
        )
    async with vouching(issuer, preset="entra", groups={"claim": []}) as vouch:
        assert await vouch(issuer.token(**ENTRA, **over)) is not None, "nobody reads them"


async def test_a_key_that_entra_has_for_somebody_else_verifies_nothing(issuer: Issuer) -> None:
    others = key("consumers")
    published = [
        {**issuer.key.as_dict(private=False), "issuer": f"{issuer.url}/{{tenantid}}/v2.0"},
        {**others.as_dict(private=False), "issuer": f"https://login.microsoftonline.com/{OTHER}/v2.0"},
    ]
    issuer.jwks = json.dumps({"keys": published}).encode()
    async with vouching(issuer, preset="entra") as vouch:
        assert await vouch(issuer.token(**ENTRA)) is not None
        assert "does not have" in await refusal(vouch, sign(issuer.claims(**ENTRA), others))


def test_entra_directories_stand_for_the_issuers_of_both_versions_exactly() -> None:
    model = JwtModel(type="jwt", preset="entra", directories=(TID,))
    assert model.issuers == (
        f"https://login.microsoftonline.com/{TID}/v2.0",
        f"https://sts.windows.net/{TID}/",
    )
    assert model.authorization_servers == (f"https://login.microsoftonline.com/{TID}/v2.0",)
    several = JwtModel(
        type="jwt", preset="entra", directories=(TID, OTHER), issuer="https://login.example/{tenantid}/v2.0"
    )
    assert several.issuers == tuple(f"https://login.example/{each}/v2.0" for each in (TID, OTHER))


async def test_tokens_of_directories_that_are_not_named_are_nobodys() -> None:
    async with issuing() as issuer:
        issuer.name = f"{issuer.url}/{TID}/v2.0"
        issuer.documents = {f"/{TID}/v2.0/.well-known/openid-configuration"}
        template = issuer.url + "/{tenantid}/v2.0"
        async with vouching(preset="entra", directories=[TID], issuer=template) as vouch:
            assert await vouch(issuer.token(**ENTRA)) is not None
            assert await vouch(issuer.token(**ENTRA, iss=f"{issuer.url}/{OTHER}/v2.0")) is None
            assert await vouch(issuer.token(**ENTRA, iss=template)) is None


async def test_several_directories_are_several_issuers_each_with_its_own_keys() -> None:
    keys = {TID: key("k1"), OTHER: key("k1")}
    async with issuing(beside=keys) as issuer:
        template = issuer.url + "/{tenantid}"

        def signed(by: Key, directory: str) -> str:
            return sign(issuer.claims(**ENTRA, iss=f"{issuer.url}/{directory}"), by)

        async with vouching(preset="entra", directories=[TID, OTHER], issuer=template) as vouch:
            for directory, by in keys.items():
                vouched = await vouch(signed(by, directory))
                assert vouched is not None
                assert vouched.principal.issuer == f"{issuer.url}/{directory}"
            assert "signature is not its issuer's" in await refusal(vouch, signed(keys[OTHER], TID))
            assert "signature is not its issuer's" in await refusal(vouch, signed(keys[TID], OTHER))
            assert await vouch(signed(keys[TID], "no-such")) is None


async def test_google_people_are_known_by_id_tokens_for_a_client_that_is_named(issuer: Issuer) -> None:
    claims = {
        "aud": "client-1",
        "azp": "client-1",
        "hd": "example.com",
        "email": "a@example.com",
        "sub": "10769",
    }
    settings = {"preset": "google", "audience": "client-1", "require": {"hd": "example.com"}}
    found = await principal(issuer, claims, **settings)
    assert dict(found.attributes) == {"domain": "example.com", "email": "a@example.com"}
    found = await principal(issuer, {**claims, "iss": "accounts.google.com"}, **settings)
    assert found.issuer == issuer.url, "both names are one issuer"
    async with vouching(issuer, **settings) as vouch:
        assert "claim hd" in await refusal(vouch, issuer.token(**{**claims, "hd": "evil.example"}))
        assert "claim hd" in await refusal(vouch, issuer.token(**{**claims, "hd": None}))
        assert "not issued" in await refusal(vouch, issuer.token(**{**claims, "aud": "client-2"}))


def test_google_needs_no_issuer() -> None:
    assert JwtModel(type="jwt", preset="google", audience=("c",)).issuers == ("https://accounts.google.com",)


COGNITO = {"aud": None, "client_id": "client-1", "token_use": "access", "cognito:groups": ["adjusters"]}


async def test_cognito_tokens_are_for_a_client_that_is_named(issuer: Issuer) -> None:
    async with vouching(issuer, preset="cognito", audience="client-1") as vouch:
        vouched = await vouch(issuer.token(**COGNITO))
        assert vouched is not None
        assert vouched.principal.roles == vouched.principal.groups == {"adjusters"}
        assert vouched.scopes == {"claims:read"}
        assert "not issued" in await refusal(vouch, issuer.token(**{**COGNITO, "client_id": "client-2"}))
        elsewhere = {**COGNITO, "aud": "https://other.example"}
        assert "not issued" in await refusal(vouch, issuer.token(**elsewhere)), (
            "a resource goes before the client"
        )


async def test_an_id_token_of_cognito_is_refused(issuer: Issuer) -> None:
    async with vouching(issuer, preset="cognito", audience="client-1") as vouch:
        token = issuer.token(**{**COGNITO, "token_use": "id", "aud": "client-1"})
        assert "token_use" in await refusal(vouch, token)


async def test_aws_roles_are_mapped_by_arn(issuer: Issuer) -> None:
    claims = {
        "sub": "arn:aws:iam::123456789012:role/DataProcessing",
        AWS: {"aws_account": "123456789012", "org_id": "o-abc", "principal_tags": {"team": "marine"}},
    }
    found = await principal(
        issuer,
        claims,
        preset="aws",
        roles={"map": {"arn:aws:iam::123456789012:role/Data*": "agent"}},
        attributes={"team": r"https://sts\.amazonaws\.com/.principal_tags.team"},
    )
    assert found.roles == {"agent"}
    assert dict(found.attributes) == {"account": "123456789012", "organization": "o-abc", "team": "marine"}


async def test_okta_people_are_known_by_an_id_that_stays(issuer: Issuer) -> None:
    claims = {"sub": "alice@example.com", "uid": "00u1", "cid": "0oa1", "scp": ["a"], "groups": ["Adjusters"]}
    found = await principal(issuer, claims, preset="okta")
    assert (found.subject, found.client, found.roles) == ("00u1", "0oa1", {"Adjusters"})
    async with vouching(issuer, preset="okta") as vouch:
        id_token = sign(issuer.claims(**{**claims, "cid": None, "client_id": None}), issuer.key, typ=None)
        assert "an ID token, perhaps" in await refusal(vouch, id_token)


KEYCLOAK = {
    "typ": "Bearer",
    "azp": "desk",
    "aud": ["gateway", "account"],
    "realm_access": {"roles": ["adjuster", "admin"]},
    "resource_access": {"gateway": {"roles": ["payer"]}, "other": {"roles": ["root"]}},
    "groups": ["/marine"],
}


async def test_keycloak_roles_are_those_of_the_realm_and_of_our_own_client(issuer: Issuer) -> None:
    found = await principal(issuer, KEYCLOAK, preset="keycloak", audience="gateway")
    assert found.roles == {"adjuster", "payer"}, "admin of the realm is no administrator here"
    assert (found.groups, found.client) == ({"/marine"}, "desk")


@pytest.mark.parametrize("typ", ["ID", "Refresh", "Offline", "Logout", None])
async def test_other_tokens_of_keycloak_are_refused(issuer: Issuer, typ: str | None) -> None:
    async with vouching(issuer, preset="keycloak", audience="gateway") as vouch:
        assert "claim typ" in await refusal(vouch, issuer.token(**{**KEYCLOAK, "typ": typ}))


async def test_what_is_said_goes_before_the_preset(issuer: Issuer) -> None:
    found = await principal(
        issuer,
        {**KEYCLOAK, "email": "a@example.com"},
        preset="keycloak",
        audience="gateway",
        subject="email",
        roles={"claims": [], "default": ["user"]},
        groups={"claim": "aud"},
    )
    assert (found.subject, found.roles, found.groups) == ("a@example.com", {"user"}, {"gateway", "account"})


async def test_true_is_not_one_in_what_is_required(issuer: Issuer) -> None:
    async with vouching(issuer, require={"email_verified": True}) as vouch:
        assert await vouch(issuer.token(email_verified=True)) is not None
        for other in (1, "true", False, None, [True]):
            assert "email_verified" in await refusal(vouch, issuer.token(email_verified=other))
