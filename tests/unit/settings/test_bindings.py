"""Mistakes in what tokens and clients are bound to."""

from __future__ import annotations

import pytest

from tests.unit.settings.given import mistakes, only_mistake, read

SERVER = "servers: {time: {package: 'pypi:t==1'}}\n"
JWT = "auth: {type: jwt, issuer: 'https://id.example'}\n"
TLS = "tls: {certificate: c, key: k, client_ca: a}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tls: {certificate: c, key: k, client: required}", "tls.client: goes with client_ca"),
        ("forwarded_certificates: true", "forwarded_certificates: needs trusted_proxies"),
        ("auth: {type: certificate}", "auth: needs certificates: tls.client_ca"),
        ("auth: [{type: keys}, {type: certificate}]", "auth[1]: needs certificates"),
        (JWT + "listen: 0.0.0.0:8080", "listen: is no name that a token can be for: set public_url"),
        ("dpop: {window: 1h}", "dpop.window"),
        ("dpop: {algorithms: []}", "dpop.algorithms"),
        (TLS + "auth: [{type: certificate}, {type: certificate}]", "second entry of the type certificate"),
    ],
)
def test_what_does_not_go_together_is_told(text: str, said: str) -> None:
    assert said in only_mistake(SERVER + text)


def test_what_goes_together_is_taken() -> None:
    settings = read(
        f"{SERVER}{TLS}trusted_proxies: [10.0.0.1]\nforwarded_certificates: true\npublic_url: https://gw.example/\n"
        "listen: 0.0.0.0:8080\nauth: [{type: jwt, issuer: 'https://id.example'}, {type: certificate, subject: cn}]\n"
        "dpop: {required: true, nonce: true, window: 30s, algorithms: [ES256]}"
    )
    assert settings.forwarded_certificates
    assert settings.dpop.required
    assert settings.tls is not None
    assert settings.tls.client_ca is not None
    read(SERVER + JWT)  # a loopback address is a name


def test_a_way_of_signing_with_a_shared_secret_is_no_choice() -> None:
    assert any(
        "dpop.algorithms[0]: is none of the known words" in each
        for each in mistakes("dpop: {algorithms: [HS256]}")
    )
