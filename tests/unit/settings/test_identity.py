"""`auth:` in the settings: its forms, what each entry stands for, and what is wrong with it, where."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings.given import BASE, mistakes, only_mistake, read
from tidegate.domain.server import Secret
from tidegate.settings.identity import (
    IntrospectionModel,
    JwtModel,
    KeysModel,
    LocalModel,
    SpiffeModel,
)

TID = "11111111-2222-3333-4444-555555555555"


def jwt(text: str) -> JwtModel:
    [model] = read(f"auth: {{type: jwt, {text}}}").auth
    assert isinstance(model, JwtModel)
    return model


@pytest.mark.parametrize(
    "text", ["listen: 127.0.0.1:8080", "auth:", "auth: {}", "auth: {type: local}", "auth: [{}]"]
)
def test_without_a_word_whoever_is_on_this_machine_is_the_local_user(text: str) -> None:
    settings = read(text)
    assert settings.auth == (LocalModel(),)
    assert settings.local
    assert not settings.admin_api


def test_one_identity_is_a_mapping_and_several_are_a_list() -> None:
    assert read("auth: {type: keys}").auth == (KeysModel(type="keys"),)
    settings = read("auth: [{type: keys}, {type: jwt, issuer: https://id.example}]")
    assert [each.type for each in settings.auth] == ["keys", "jwt"]
    assert not settings.local
    assert settings.admin_api


def test_an_entry_has_sound_bounds_by_default() -> None:
    model = jwt("issuer: https://id.example/realms/x")
    assert model.issuers == model.authorization_servers == ("https://id.example/realms/x",)
    assert (model.leeway, model.lifetime, model.refresh, model.outage) == (30, 86400, 3600, 43200)
    assert not {"none", "HS256", "HS384", "HS512"} & set(model.algorithms)
    assert model.tenant == "default"


def test_one_word_stands_for_a_list_of_one() -> None:
    model = jwt(
        "issuer: https://id.example, audience: a, roles: {claims: groups, map: {x: user}}, groups: {claim: g}"
    )
    assert model.audience == ("a",)
    assert model.roles.claims == ("groups",)
    assert model.roles.map == {"x": ("user",)}
    assert model.groups is not None
    assert model.groups.claim == ("g",)
    assert jwt("issuer: https://id.example, scopes: []").scopes == ()


def test_a_client_secret_is_a_secret() -> None:
    text = """
    auth:
      type: introspection
      issuer: https://id.example
      client_id: gateway
      client_secret: ${env:CLIENT_SECRET}
    """
    settings = read(text, CLIENT_SECRET="hidden")
    [model] = settings.auth
    assert isinstance(model, IntrospectionModel)
    assert isinstance(model.client_secret, Secret)
    assert model.client_secret.reveal() == "hidden"
    assert "hidden" not in repr(settings)
    assert "CLIENT_SECRET is not set" in only_mistake(text)


def test_a_bundle_is_a_file_beside_the_settings_or_a_url() -> None:
    for text, found in (("b.json", BASE / "b.json"), ("/b.json", Path("/b.json"))):
        [model] = read(f"auth: {{type: spiffe, trust_domain: example.org, bundle: {text}}}").auth
        assert isinstance(model, SpiffeModel)
        assert model.bundle == found
    [model] = read("auth: {type: spiffe, trust_domain: example.org, jwks: 'https://keys.example/x'}").auth
    assert isinstance(model, SpiffeModel)
    assert model.jwks == "https://keys.example/x"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("type: jwt", "auth.issuer: is needed"),
        (
            "type: jwt, issuer: id.example",
            "auth.issuer: should be a URL that begins with https:// or http://",
        ),
        (
            "type: jwt, issuer: 'http://id.example'",
            "auth.issuer: should begin with https://: http:// is taken for",
        ),
        ("type: jwt, issuer: 'https://u@id.example'", "auth.issuer: should have no user and no ?query"),
        ("type: jwt, issuer: 'https://id.example/?a'", "auth.issuer: should have no user and no ?query"),
        (
            "type: jwt, issuer: 'https://a', algorithms: [HS256]",
            "auth.algorithms[0]: is none of the known words",
        ),
        (
            "type: jwt, issuer: 'https://a', algorithms: [none]",
            "auth.algorithms[0]: is none of the known words",
        ),
        ("type: jwt, issuer: 'https://a', algorithms: []", "auth.algorithms: should not be empty"),
        ("type: jwt, issuer: 'https://a', leeway: 1h", "auth.leeway: should be less than or equal to 300"),
        (
            "type: jwt, issuer: 'https://a', refresh: 1s",
            "auth.refresh: should be greater than or equal to 60",
        ),
        (
            "type: jwt, issuer: 'https://a', outage: 30d",
            "auth.outage: should be less than or equal to 604800",
        ),
        (
            "type: jwt, issuer: 'https://a', subject: 'a..b'",
            "auth.subject[0]: should be a claim, such as groups",
        ),
        ("type: jwt, issuer: 'https://a', tenant: {map: {}}", "auth.tenant.claim: is needed"),
        ("type: jwt, issuer: 'https://a', tenant: 'a b'", "auth.tenant: should be a name of at most 64"),
        (
            "type: jwt, issuer: 'https://a', roles: {default: ['a/b']}",
            "auth.roles.default[0]: should be a name",
        ),
        (
            "type: jwt, issuer: 'https://a', roles: {mpa: {}}",
            "auth.roles.mpa: is no known key; did you mean map?",
        ),
        (
            "type: jwt, issuer: 'https://a', attributes: {'a-b': x}",
            "auth.attributes: holds a name that is none",
        ),
        (
            "type: jwt, issuer: 'https://a', require: {a: 1.5}",
            "auth.require.a: should be text, a whole number",
        ),
        (
            "type: jwt, issuer: 'https://a', require: {a: []}",
            "auth.require.a: should be text, a whole number",
        ),
        ("type: jwt, issuer: 'https://a', preset: azure", "auth.preset: is none of the known words"),
        ("type: jwt, preset: entra", "auth.issuer: is needed, or directories"),
        (
            "type: jwt, preset: entra, directories: [example.com]",
            "auth.directories[0]: should be the id of a directory",
        ),
        (
            f"type: jwt, issuer: 'https://a', directories: [{TID}]",
            "auth.directories: goes with preset: entra only",
        ),
        ("type: jwt, preset: entra, issuer: 'https://a/{tenantid}/v2.0'", "auth.issuer: needs directories"),
        (
            "type: jwt, preset: entra, issuer: 'https://a/common/v2.0'",
            "auth.issuer: would take tokens of anybody",
        ),
        (
            f"type: jwt, preset: entra, issuer: 'https://a', directories: [{TID}]",
            "auth.directories: goes with an issuer that has {tenantid} in it",
        ),
        ("type: jwt, preset: google", "auth.audience: is needed with preset: google"),
        ("type: jwt, preset: cognito, issuer: 'https://a'", "auth.audience: is needed with preset: cognito"),
        ("type: introspection, issuer: 'https://a', client_id: x", "auth.client_secret: is needed"),
        ("type: kubernetes", "auth.issuer: is needed"),
        ("type: spiffe, trust_domain: 'spiffe://a', jwks: x", "auth.trust_domain: should be a trust domain"),
        ("type: spiffe, trust_domain: a", "auth: exactly one of bundle and jwks is needed"),
        (
            "type: spiffe, trust_domain: a, jwks: x, bundle: y",
            "auth: exactly one of bundle and jwks is needed",
        ),
        (
            "type: spiffe, trust_domain: a, bundle: 'http://keys.example/'",
            "auth.bundle: should begin with https://",
        ),
        ("type: keys, issuer: x", "auth.issuer: is no known key"),
        ("type: 7", "auth.type: should be local, is a number"),
    ],
)
def test_mistakes_are_said_with_their_place(entry: str, said: str) -> None:
    assert said in only_mistake(f"auth: {{{entry}}}")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ("{type: keys}, {type: local}", "auth[1]: local stands alone"),
        ("{type: keys}, {}", "auth[1]: local stands alone"),
        (
            "{type: keys}, {type: keys}",
            "auth[1]: is a second entry of the type keys, which would never be asked",
        ),
        (
            "{type: jwt, issuer: 'https://a'}, {type: kubernetes, issuer: 'https://a'}",
            "auth[1]: is of the same issuer as auth[0]",
        ),
        ("{type: keys}, {type: jwt, issuer: x}", "auth[1].issuer: should be a URL"),
        ("{type: keys}, 7", "auth[1]: should be a mapping, is a number"),
        ("{type: keys}, {type: ldap}", "auth[1].type: is none of the known words"),
        ("", "auth: should not be empty"),
    ],
)
def test_mistakes_in_a_list_are_said_with_the_entry(entries: str, said: str) -> None:
    assert said in only_mistake(f"auth: [{entries}]")


def test_mistakes_have_the_line_they_are_in() -> None:
    [found] = mistakes(
        "auth:\n  - type: keys\n  - type: jwt\n    issuer: https://id.example\n    leeway: x\n"
    )
    assert found.startswith("5: auth[1].leeway: should be a duration")


def test_a_listener_beyond_loopback_needs_every_entry_to_be_another_than_local() -> None:
    assert "is beyond loopback" in mistakes("listen: 0.0.0.0:80\nauth: [{type: local}]")[0]
    assert read("listen: 0.0.0.0:80\nauth: [{type: keys}]").auth
