"""What clients that bring tokens are told: the page of each resource, and the challenge that leads there."""

from __future__ import annotations

import base64
import json

import httpx2
import pytest
from mcp.client.auth.utils import extract_field_from_www_auth
from mcp.shared.auth import ProtectedResourceMetadata

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, Got, modern, raw_post
from tidegate.domain.errors import InsufficientScope, Unauthenticated
from tidegate.edge.guard import Guard
from tidegate.edge.resources import Resources, Tokens, has_token

BASE = "https://gw.example"
PAGE = "/.well-known/oauth-protected-resource"
ISSUERS = ("https://id.example", "https://other.example")
PLAIN = Tokens(ISSUERS)
PROVED = Tokens(ISSUERS, bound_to_certificates=True, proofs=("ES256", "EdDSA"))


def resources(tokens: Tokens = PLAIN, **scopes: tuple[str, ...]) -> Resources:
    given = {f"/{name}": each for name, each in (scopes or {"mcp": ()}).items()}
    return Resources(BASE, tokens, lambda: given, admin=True)


def challenge(made: Resources, refusal: Unauthenticated | InsufficientScope, path: str = "/mcp") -> str:
    found = dict(made.challenge(path, refusal))
    return found[b"www-authenticate"].decode()


def page(made: Resources, path: str) -> dict[str, object] | None:
    found = made.page(PAGE + path)
    return None if found is None else json.loads(found)


def test_each_endpoint_is_a_resource_of_its_own() -> None:
    made = resources(claims=("claims:read", "claims:pay"), pay=())
    claims = page(made, "/claims")
    assert claims == {
        "resource": "https://gw.example/claims",
        "authorization_servers": list(ISSUERS),
        "bearer_methods_supported": ["header"],
        "resource_name": "tidegate /claims",
        "scopes_supported": ["claims:read"],
    }
    paid = page(made, "/pay")
    assert paid is not None
    assert paid["resource"] == "https://gw.example/pay"
    assert "scopes_supported" not in paid
    assert page(made, "/api") is not None
    for unknown in ("", "/", "/claims/", "/Claims", "/nothing", "claims"):
        assert page(made, unknown) is None


def test_the_root_is_the_page_of_the_only_endpoint() -> None:
    root = page(resources(), "")
    assert root == page(resources(), "/mcp")
    assert root is not None
    assert root["resource"] == "https://gw.example/mcp"


def test_below_a_path_the_page_is_found_with_it_and_without() -> None:
    made = Resources("https://gw.example/tools", PLAIN, lambda: {"/mcp": (), "/two": ()})
    for path in ("/mcp", "/tools/mcp"):
        found = page(made, path)
        assert found is not None
        assert found["resource"] == "https://gw.example/tools/mcp"
    assert page(made, "/tools") is None
    assert page(made, "/other/mcp") is None


def test_ways_to_bind_a_token_are_told() -> None:
    found = page(resources(PROVED), "/mcp")
    assert found is not None
    assert found["tls_client_certificate_bound_access_tokens"] is True
    assert found["dpop_signing_alg_values_supported"] == ["ES256", "EdDSA"]
    assert found["dpop_bound_access_tokens_required"] is False


def test_where_no_token_can_be_had_there_is_no_page_and_the_challenge_says_no_more_than_it_did() -> None:
    made = resources(Tokens())
    assert page(made, "/mcp") is None
    assert challenge(made, Unauthenticated("bad")) == 'Bearer realm="tidegate"'


def test_who_brings_nothing_is_told_where_to_go_and_of_no_error() -> None:
    made = resources(mcp=("claims:read", "claims:list"))
    assert challenge(made, Unauthenticated("no credentials were sent", error="")) == (
        'Bearer resource_metadata="https://gw.example/.well-known/oauth-protected-resource/mcp", '
        'scope="claims:read"'
    )


def test_who_brings_a_bad_token_is_told_so() -> None:
    said = challenge(resources(), Unauthenticated('the "token" has\r\nexpired\\'))
    assert 'error="invalid_token", error_description="the token hasexpired"' in said
    assert said.startswith("Bearer resource_metadata=")
    assert "scope" not in said


def test_who_lacks_scopes_is_told_all_of_them_at_once() -> None:
    made = resources(claims=("b", "a", "c"))
    held = frozenset({"a", "b", "openid", "offline_access"})
    said = challenge(made, InsufficientScope("needs more", held), "/claims")
    assert said == (
        'Bearer resource_metadata="https://gw.example/.well-known/oauth-protected-resource/claims", '
        'scope="b a", error="insufficient_scope", error_description="needs more"'
    )


def test_proofs_are_asked_for_where_tokens_may_be_bound_and_alone_where_they_must() -> None:
    refusal = Unauthenticated("no", error="")
    assert challenge(resources(PROVED), refusal).endswith(', DPoP algs="ES256 EdDSA"')
    required = challenge(resources(Tokens(ISSUERS, proofs=("ES256",), only_proved=True)), refusal)
    assert required.startswith("DPoP resource_metadata=")
    assert required.endswith('algs="ES256"')
    assert "Bearer" not in required
    nonce = Unauthenticated("a nonce is needed", error="use_dpop_nonce", nonce="n-1")
    told = dict(resources(PROVED).challenge("/mcp", nonce))
    assert told[b"dpop-nonce"] == b"n-1"
    assert told[b"www-authenticate"].startswith(b"DPoP ")
    assert b'error="use_dpop_nonce"' in told[b"www-authenticate"]


@pytest.mark.parametrize("tokens", [PLAIN, PROVED, Tokens(ISSUERS, proofs=("ES256",), only_proved=True)])
def test_the_published_client_reads_page_and_challenge(tokens: Tokens) -> None:
    made = resources(tokens, claims=("claims:read",))
    found = ProtectedResourceMetadata.model_validate_json(made.page(f"{PAGE}/claims") or b"")
    assert str(found.resource) == "https://gw.example/claims"
    assert [str(each).rstrip("/") for each in found.authorization_servers] == list(ISSUERS)
    for refusal in (Unauthenticated("no", error=""), InsufficientScope("more", frozenset({"claims:read"}))):
        headers = [(name.decode(), value.decode()) for name, value in made.challenge("/claims", refusal)]
        answer = httpx2.Response(refusal.status, headers=headers)
        assert extract_field_from_www_auth(answer, "resource_metadata") == f"{BASE}{PAGE}/claims"
        assert extract_field_from_www_auth(answer, "scope") == "claims:read"


@pytest.mark.parametrize(
    "query",
    [b"access_token=x", b"a=1&access_token=x", b"ACCESS_TOKEN=x", b"access%5Ftoken=x", b"%61ccess_token%3Dx"],
)
def test_a_token_in_a_url_is_found(query: bytes) -> None:
    assert has_token(query)
    assert not has_token(b"token=x&limit=4")


class Asking:
    """A listener that takes tokens, and what strangers ask of it."""

    def __init__(self, edge: EdgeSetting, made: Resources) -> None:
        self.edge = edge
        edge.listener.app.mcp.resources = made

    async def raw(self, lines: str) -> Got:
        wire = await self.edge.connect()
        try:
            await wire.send(f"{lines}\r\n\r\n".encode())
            return await wire.read()
        finally:
            await wire.close()

    async def post(self, path: str = "/mcp", **headers: str) -> Got:
        own, body = modern("tools/list")
        wire = await self.edge.connect()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            await wire.send(raw_post(body, {**own, **named}, path))
            return await wire.read()
        finally:
            await wire.close()


async def test_the_page_is_told_to_every_origin_by_its_own_host_only(listen: Listen) -> None:
    asking = Asking(await listen(), resources())
    got = await asking.raw(f"GET {PAGE}/mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example")
    assert (got.status, got.json["resource"]) == (200, "https://gw.example/mcp")
    assert got.headers["access-control-allow-origin"] == "*"
    assert got.headers["cache-control"] == "public, max-age=300"
    asked = await asking.raw(
        f"OPTIONS {PAGE}/mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: https://a.example\r\n"
        "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: mcp-protocol-version"
    )
    assert (asked.status, asked.headers["access-control-allow-headers"]) == (200, "*")
    rebound = await asking.raw(f"GET {PAGE}/mcp HTTP/1.1\r\nHost: evil.example")
    assert (rebound.status, rebound.headers.get("access-control-allow-origin")) == (403, None)
    wire = await asking.edge.connect()
    await wire.send(f"HEAD {PAGE} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert (await wire.head()).status == 200
    assert await wire.ended() == b""
    await wire.close()
    posted = await asking.raw(f"POST {PAGE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0")
    assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    missing = await asking.raw(f"GET {PAGE}/other HTTP/1.1\r\nHost: localhost")
    assert (missing.status, missing.headers["access-control-allow-origin"]) == (404, "*")


async def test_where_no_tokens_are_taken_there_is_no_page(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    assert (await wire.get(f"{PAGE}/mcp")).status == 404
    await wire.close()


async def test_a_stranger_is_led_to_the_page_from_endpoint_stream_and_api(listen: Listen) -> None:
    asking = Asking(await listen(), resources())
    posted = await asking.post(Authorization="-")
    streamed = await asking.raw(
        "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nMcp-Session-Id: x\r\n"
        "MCP-Protocol-Version: 2025-11-25"
    )
    for got in (posted, streamed):
        assert (got.status, got.headers["www-authenticate"]) == (
            401,
            f'Bearer resource_metadata="{BASE}{PAGE}/mcp"',
        )
    api = await asking.raw("GET /api/v1/servers HTTP/1.1\r\nHost: localhost")
    assert (api.status, api.headers["www-authenticate"]) == (
        401,
        f'Bearer resource_metadata="{BASE}{PAGE}/api"',
    )


@pytest.mark.parametrize(
    "path", ["/mcp?access_token=secret-word", "/api/v1/servers?access_token=secret-word"]
)
async def test_a_token_in_the_url_is_refused_unread_and_kept_nowhere(listen: Listen, path: str) -> None:
    edge = await listen()
    got = await Asking(edge, resources()).post(path)
    assert got.status == 400
    assert b"secret-word" not in got.body
    assert "secret-word" not in json.dumps(edge.gateway.records("refused"))


async def test_a_forwarded_certificate_is_taken_from_trusted_proxies_only(listen: Listen) -> None:
    sent = f":{base64.b64encode(b'a certificate').decode()}:"
    edge = await listen()
    taken = Resources(BASE, PLAIN, lambda: {"/mcp": ()}, forwarded=True)
    asking = Asking(edge, taken)
    assert (await asking.post(Client_Cert=sent)).status == 400
    proxied = Guard(listen_host="127.0.0.1", proxies=["127.0.0.1"])
    edge.listener.app.mcp.guard_by(proxied)
    assert (await asking.post(Client_Cert=sent)).status == 200
    for wrong in ("x", ":", "::", ":!:", f"{sent}, {sent}", f":{'A' * 40000}:"):
        assert (await asking.post(Client_Cert=wrong)).status == 400
    edge.listener.app.mcp.resources = resources()  # where it is not asked for it is not even read
    assert (await asking.post(Client_Cert="x")).status == 200
