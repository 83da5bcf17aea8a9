"""A real gateway as OAuth resource server: each endpoint its own, and tokens bound to certificates and keys."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.integration.gateway.gateway import Gateway, marked, server
from tests.integration.gateway.resource_server import PAGE, Authorities, Client, Got, an_issuer, der
from tests.proving import Prover
from tests.servers.issuer import Issuer
from tidegate.extensions.identity.binding import thumbprint

ALICE, MALLORY = Prover(), Prover()


@dataclass
class Serving:
    """A gateway over TLS that asks clients for certificates, its issuer, and who signs certificates."""

    gateway: Gateway
    issuer: Issuer
    authorities: Authorities
    plain: Client

    def uri(self, path: str = "/mcp") -> str:
        return self.plain.base + path

    def token(self, path: str = "/mcp", **claims: Any) -> str:
        return self.issuer.token(**{"aud": self.uri(path), **claims})

    def showing(self, issued: Any) -> Client:
        return Client(self.plain.base, self.authorities.context(issued))


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with an_issuer() as made:
        yield made


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Serving]:
    place = tmp_path_factory.mktemp("resource")
    authorities = Authorities(place)
    settings = {
        "tls": authorities.settings(),
        "auth": [
            {"type": "keys"},
            {"type": "jwt", "issuer": issuer.url, "roles": {"claims": "groups", "map": {"a": "admin"}, "default": "user"}},
            {"type": "certificate", "subject": "san-dns", "roles": {"default": "user"}, "crl": str(authorities.revoke())},
        ],
        "servers": {"old": server("legacy_stdio")},
        "endpoints": {
            "/mcp": {}, "/other": {},
            "/scoped": {"scopes": {"tools:echo": {"tools": ["echo"]}, "tools:add": {"tools": ["add"]}}},
        },
    }  # fmt: skip
    made = Gateway(place, marked(settings, place)).start().until_servers(old="ready")
    yield Serving(made, issuer, authorities, Client(made.base, authorities.context()))
    made.check_end()
    said = made.said() + json.dumps(made.records())
    assert "eyJ" not in said  # no token, proof or part of one


def is_served(got: Got) -> bool:
    return got.status == 200 and "result" in got.json


def refusal(got: Got) -> str:
    assert got.status == 401, got
    message: str = got.json["error"]["message"]
    return message


def test_each_endpoint_says_who_issues_tokens_for_it(serving: Serving) -> None:
    for path in ("/mcp", "/other", "/api"):
        found = serving.plain.send(PAGE + path, Origin="https://anywhere.example")
        assert found.status == 200
        assert found.headers["access-control-allow-origin"] == "*"
        assert found.json["resource"] == serving.uri(path)
        assert found.json["authorization_servers"] == [serving.issuer.url]
        assert found.json["tls_client_certificate_bound_access_tokens"] is True
        assert "ES256" in found.json["dpop_signing_alg_values_supported"]
    assert serving.plain.send(PAGE).status == 404  # there are two endpoints
    assert serving.plain.send(f"{PAGE}/mcp", Host="evil.example").status == 403


def test_who_brings_nothing_or_something_bad_is_led_there(serving: Serving) -> None:
    metadata = f'resource_metadata="{serving.uri(PAGE)}/mcp"'
    nothing = serving.plain.ask()
    assert refusal(nothing)
    assert metadata in nothing.challenge
    assert "error" not in nothing.challenge
    bad = serving.plain.ask(token=serving.token(exp=1))
    assert "expired" in refusal(bad)
    assert metadata in bad.challenge
    assert 'error="invalid_token"' in bad.challenge
    api = serving.plain.send("/api/v1/servers")
    assert (api.status, f'resource_metadata="{serving.uri(PAGE)}/api"' in api.challenge) == (401, True)


def test_a_token_is_good_for_what_it_was_issued_for_and_for_nothing_else(serving: Serving) -> None:
    token = serving.token("/other")
    assert is_served(serving.plain.ask("/other", token))
    assert "not issued for this resource" in refusal(serving.plain.ask("/mcp", token))
    assert is_served(serving.plain.ask("/other", token))  # known now, and still nowhere else
    assert refusal(serving.plain.ask("/mcp", token))
    for audience in (
        serving.uri("/mcp/"),
        serving.uri("/MCP"),
        serving.uri(""),
        "https://gw.example/mcp",
        [],
        None,
    ):
        assert refusal(serving.plain.ask("/mcp", serving.token(aud=audience, jti=f"{audience}")))


def test_a_token_that_was_not_issued_for_a_call_is_told_what_for_and_then_may(serving: Serving) -> None:
    def call(name: str, scope: str | None, **arguments: Any) -> Got:
        token = serving.token("/scoped", scope=scope, jti=f"{scope}")
        params = {"name": f"old__{name}", "arguments": arguments}
        return serving.plain.ask("/scoped", token, method="tools/call", params=params)

    metadata = serving.plain.send(f"{PAGE}/scoped").json
    assert metadata["scopes_supported"] == ["tools:echo"]
    assert 'scope="tools:echo"' in serving.plain.ask("/scoped").challenge
    assert is_served(call("echo", "tools:echo", text="x"))
    short = call("add", "tools:echo", a=1, b=2)
    assert short.status == 403
    assert short.challenge.startswith(f'Bearer resource_metadata="{serving.uri(PAGE)}/scoped"')
    assert 'error="insufficient_scope"' in short.challenge
    assert 'scope="tools:echo tools:add"' in short.challenge
    assert is_served(call("add", "tools:add tools:echo", a=1, b=2))


def test_an_administrators_token_is_for_the_admin_api_alone(serving: Serving) -> None:
    admin = serving.token("/api", groups=["a"])
    assert serving.plain.send("/api/v1/servers", Authorization=f"Bearer {admin}").status == 200
    assert refusal(serving.plain.ask("/mcp", admin))
    elsewhere = serving.token("/mcp", groups=["a"])
    assert serving.plain.send("/api/v1/servers", Authorization=f"Bearer {elsewhere}").status == 401


def test_a_token_in_the_url_or_the_body_is_no_credential(serving: Serving) -> None:
    token = serving.token()
    assert serving.plain.ask(f"/mcp?access_token={token}").status == 400
    assert serving.plain.ask(f"/mcp?x=1&access%5Ftoken={token}", token).status == 400
    assert refusal(serving.plain.ask(params={"access_token": token}))


def test_a_client_is_who_its_certificate_says(serving: Serving) -> None:
    client = serving.showing(serving.authorities.clients.issue_cert("desk.example"))
    assert is_served(client.ask())
    assert is_served(client.ask("/other"))
    called = client.ask(method="tools/call", params={"name": "old__echo", "arguments": {"text": "x"}})
    assert called.status == 200
    intent = [each for each in serving.gateway.records() if each["kind"] == "call.intent"][-1]
    assert "desk.example" in json.dumps(intent)


def test_a_certificate_of_another_authority_is_not_even_answered(serving: Serving) -> None:
    client = serving.showing(serving.authorities.others.issue_cert("desk.example"))
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        client.ask()


def test_a_certificate_that_is_revoked_meanwhile_is_refused_and_others_are_not(serving: Serving) -> None:
    authorities = serving.authorities
    issued = [authorities.clients.issue_cert(f"{name}.example") for name in ("lost", "kept")]
    lost, kept = (serving.showing(each) for each in issued)
    assert is_served(lost.ask())
    assert is_served(kept.ask())
    authorities.revoke(issued[0])
    serving.gateway.until(lambda: lost.ask().status == 401, "the certificate to be refused")
    assert "revoked" in refusal(lost.ask())
    assert is_served(kept.ask())


def test_a_token_of_a_certificate_is_of_no_use_without_it(serving: Serving) -> None:
    alice, mallory = (
        serving.authorities.clients.issue_cert(f"{name}.example") for name in ("alice", "mallory")
    )
    token = serving.token(cnf={"x5t#S256": thumbprint(der(alice))})
    assert is_served(serving.showing(alice).ask(token=token))
    assert "none was shown" in refusal(serving.plain.ask(token=token))
    assert "another certificate" in refusal(serving.showing(mallory).ask(token=token))
    sent = f":{base64.b64encode(der(alice)).decode()}:"
    assert refusal(serving.plain.ask(token=token, Client_Cert=sent))  # nobody is believed who says so
    assert is_served(serving.showing(alice).ask(token=token))


def test_a_stolen_token_is_of_no_use_without_its_key(serving: Serving) -> None:
    token = serving.token(cnf={"jkt": ALICE.thumbprint})
    assert is_served(serving.plain.prove(ALICE, token))
    plain = serving.plain.ask(token=token)
    assert "scheme DPoP" in refusal(plain)
    assert refusal(serving.plain.ask(token=token, scheme="DPoP"))
    assert refusal(serving.plain.prove(MALLORY, token))
    assert is_served(serving.plain.prove(ALICE, token))


def test_a_proof_that_was_seen_is_of_no_use_again_or_elsewhere(serving: Serving) -> None:
    token = serving.token(cnf={"jkt": ALICE.thumbprint})
    proof = ALICE.proof(serving.uri(), token)
    assert is_served(serving.plain.ask(token=token, scheme="DPoP", DPoP=proof))
    again = serving.plain.ask(token=token, scheme="DPoP", DPoP=proof)
    assert "used before" in refusal(again)
    assert again.challenge.startswith("DPoP ")
    assert 'error="invalid_dpop_proof"' in again.challenge
    other = serving.token("/other", cnf={"jkt": ALICE.thumbprint}, jti="t-2")
    assert "another URL" in refusal(serving.plain.prove(ALICE, other, "/mcp", sent_to="/other"))
    assert "another token" in refusal(
        serving.plain.ask(token=token, scheme="DPoP", DPoP=ALICE.proof(serving.uri(), other))
    )
    assert "another method" in refusal(serving.plain.prove(ALICE, token, method="GET"))
    assert "too old" in refusal(serving.plain.prove(ALICE, token, iat=1))
    assert serving.plain.ask(token=token, scheme="DPoP", DPoP=f"{proof}, {proof}").status == 401
    for wrong in ({"alg": "none"}, {"typ": "JWT"}):
        signed = ALICE.proof(serving.uri(), token).split(".")
        head = json.loads(base64.urlsafe_b64decode(signed[0] + "=="))
        signed[0] = base64.urlsafe_b64encode(json.dumps({**head, **wrong}).encode()).rstrip(b"=").decode()
        assert refusal(serving.plain.ask(token=token, scheme="DPoP", DPoP=".".join(signed)))


def test_an_administrator_proves_each_request_for_its_own_url(serving: Serving) -> None:
    token = serving.token("/api", groups=["a"], cnf={"jkt": ALICE.thumbprint})
    for path in ("/api/v1/servers", "/api/v1/gateway"):
        proof = ALICE.proof(serving.uri(path), token, method="GET")
        sent = {"Authorization": f"DPoP {token}", "DPoP": proof}
        assert serving.plain.send(path, **sent).status == 200
        assert serving.plain.send(path, **sent).status == 401
        assert serving.plain.send("/api/v1/events", **sent).status == 401


def test_in_a_session_each_request_is_proved_and_its_stream_too(serving: Serving) -> None:
    token = serving.token(cnf={"jkt": ALICE.thumbprint})

    def send(verb: str, message: Any = "", **headers: str) -> Got:
        proof = ALICE.proof(serving.uri(), token, method=verb)
        given = {
            "Authorization": f"DPoP {token}",
            "DPoP": proof,
            "Accept": "application/json, text/event-stream",
        }
        body = json.dumps(message) if message else ""
        return serving.plain.send(
            "/mcp", verb, body, **{"Content-Type": "application/json", **given, **headers}
        )

    begun = send("POST", INITIALIZE)
    assert begun.status == 200, begun
    session = {"Mcp-Session-Id": begun.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}
    listed = send("POST", {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, **session)
    assert is_served(listed)
    unproved = serving.plain.send(
        "/mcp", "POST", '{"jsonrpc": "2.0", "id": 3, "method": "ping"}', Authorization=f"DPoP {token}",
        **{"Content-Type": "application/json", **session},
    )  # fmt: skip
    assert unproved.status == 401
    for verb in ("GET", "DELETE"):  # each method has a proof of its own
        wrong = {"DPoP": ALICE.proof(serving.uri(), token)}
        assert send(verb, **session, **wrong).status == 401
    assert send("DELETE", **session).status == 200


INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Serving]:
    """A gateway behind a proxy, which takes nothing but tokens that are proved, with a nonce of its own."""
    place = tmp_path_factory.mktemp("behind")
    settings = {
        "public_url": "https://gw.example",
        "allowed_hosts": ["127.0.0.1"],
        "trusted_proxies": ["127.0.0.0/30"],
        "forwarded_certificates": True,
        "dpop": {"required": True, "nonce": True},
        "auth": [
            {"type": "jwt", "issuer": issuer.url, "roles": {"default": "user"}},
            {"type": "certificate", "subject": "cn"},
        ],
        "servers": {},
    }  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = Gateway(place, settings).start(port)
    yield Serving(made, issuer, Authorities(place), Client(f"http://127.0.0.1:{port}"))
    made.check_end()
    assert "eyJ" not in made.said()


GW = "https://gw.example"


def forwarded(certificate: bytes) -> str:
    return f":{base64.b64encode(certificate).decode()}:"


def test_behind_a_proxy_a_resource_is_what_clients_know_it_by(behind: Serving) -> None:
    for path in (PAGE, f"{PAGE}/mcp"):
        found = behind.plain.send(path).json
        assert found["resource"] == f"{GW}/mcp"
        assert found["dpop_bound_access_tokens_required"] is True
    told = behind.plain.ask()
    assert told.challenge.startswith(f'DPoP resource_metadata="{GW}{PAGE}/mcp"')


def test_a_nonce_is_told_and_then_has_to_be_there(behind: Serving) -> None:
    token = behind.issuer.token(aud=f"{GW}/mcp", cnf={"jkt": ALICE.thumbprint})

    def ask(**claims: Any) -> Got:
        return behind.plain.ask(token=token, scheme="DPoP", DPoP=ALICE.proof(f"{GW}/mcp", token, **claims))

    told = ask()
    assert told.status == 401
    assert 'error="use_dpop_nonce"' in told.challenge
    nonce = told.headers["dpop-nonce"]
    assert is_served(ask(nonce=nonce))
    assert is_served(ask(nonce=nonce))
    assert 'error="use_dpop_nonce"' in ask(nonce="made-up").challenge


def test_where_all_tokens_have_to_be_bound_a_plain_one_is_refused(behind: Serving) -> None:
    token = behind.issuer.token(aud=f"{GW}/mcp", jti="plain")
    assert "bound to no key" in refusal(behind.plain.ask(token=token))
    proof = ALICE.proof(f"{GW}/mcp", token)
    assert refusal(behind.plain.ask(token=token, scheme="DPoP", DPoP=proof))


def test_a_certificate_is_believed_of_the_proxy_and_of_nobody_else(behind: Serving) -> None:
    sent = forwarded(der(behind.authorities.clients.issue_cert(common_name="alice")))
    assert is_served(behind.plain.ask(Client_Cert=sent))
    smuggled = replace(behind.plain, source="127.0.0.9").ask(Client_Cert=sent)
    assert smuggled.status == 400
    for wrong in ("", "x", forwarded(b"no certificate"), f"{sent}, {sent}"):
        assert behind.plain.ask(Client_Cert=wrong).status in (400, 401)


def test_another_name_of_the_gateway_is_another_resource_at_once(behind: Serving) -> None:
    config = behind.gateway.config
    before = config.read_text()
    config.write_text(before.replace(GW, "https://new.example"))
    behind.gateway.until(
        lambda: behind.plain.send(PAGE).json["resource"] == "https://new.example/mcp", "the new name"
    )
    token = behind.issuer.token(aud=f"{GW}/mcp", cnf={"jkt": ALICE.thumbprint}, jti="old")
    sent = ALICE.proof(f"{GW}/mcp", token)
    assert "not issued for this resource" in refusal(behind.plain.ask(token=token, scheme="DPoP", DPoP=sent))
