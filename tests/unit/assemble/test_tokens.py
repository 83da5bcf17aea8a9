"""What clients are told of tokens follows from the settings."""

from __future__ import annotations

import pytest

from tests.unit.settings.given import read
from tidegate.assemble.tokens import canonical, resources
from tidegate.edge.resources import Tokens

JWT = "{type: jwt, issuer: 'https://id.example'}"
TLS = "tls: {certificate: c, key: k, client_ca: a}\n"
WAYS = ("ES256", "ES384", "EdDSA", "Ed25519", "PS256", "RS256")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("HTTPS://GW.Example:443", "https://gw.example"),
        ("http://gw.example:80/", "http://gw.example"),
        ("https://gw.example:8443/Tools/", "https://gw.example:8443/Tools"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_resource_has_one_spelling(url: str, found: str) -> None:
    assert canonical(url) == found


@pytest.mark.parametrize("auth", ["{type: keys}", "{type: local}", "[{type: keys}]"])
def test_where_nobody_goes_by_tokens_nothing_is_told(auth: str) -> None:
    assert resources(read(f"auth: {auth}\nservers: {{}}"), "https://gw.example", {}) is None


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (f"auth: [{{type: keys}}, {JWT}]", Tokens(("https://id.example",), False, WAYS)),
        (
            f"{TLS}auth: [{JWT}, {{type: jwt, issuer: 'https://b.example'}}]\ndpop: {{required: true, algorithms: [ES256]}}",
            Tokens(("https://id.example", "https://b.example"), True, ("ES256",), True),
        ),
        (
            "auth: {type: kubernetes, issuer: 'https://kubernetes.default.svc'}",  # where no client can get a token
            Tokens((), False, WAYS),
        ),
        (f"{TLS}auth: {{type: certificate}}", Tokens((), True, WAYS)),
    ],
)
def test_what_is_told_is_what_the_settings_have(text: str, tokens: Tokens) -> None:
    found = resources(read(f"{text}\nservers: {{}}"), "https://gw.example", {})
    assert found is not None
    assert found.tokens == tokens
