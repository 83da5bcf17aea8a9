"""The official client logs in at a certified identity provider and works through a gateway; what is taken, and what not."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client as Mcp
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)

from tests.idp.provider import REDIRECT, SECRET, Browser, key
from tests.integration.gateway.gateway import MODES
from tests.integration.gateway.resource_server import Client, Got
from tests.integration.idp.conftest import SCOPES, Serving
from tests.proving import Prover

FORMATS = ("/mcp", "/opaque")
"""Where tokens are signed, and where the provider has to be asked about them."""
DESKTOP = OAuthClientInformationFull(
    client_id="desktop", client_secret=SECRET, token_endpoint_auth_method="client_secret_basic"
)
"""A client that the provider has known all along."""

INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}  # fmt: skip


class Kept:
    """What a client remembers of its log-in."""

    def __init__(self, registered: OAuthClientInformationFull | None = None) -> None:
        self.tokens: list[OAuthToken] = []
        self.registered = registered

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens[-1] if self.tokens else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens.append(tokens)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.registered

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.registered = client_info


def logging_in(url: str, browser: Browser, kept: Kept) -> OAuthClientProvider:
    """Give the official client's own log-in, with somebody at the browser that it opens."""

    async def came_back() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**browser.answer())

    asked = OAuthClientMetadata.model_validate({"client_name": "a client", "redirect_uris": [REDIRECT]})
    return OAuthClientProvider(url, asked, kept, browser.open, came_back)


@asynccontextmanager
async def connected(serving: Serving, path: str, auth: httpx2.Auth, mode: str) -> AsyncGenerator[Mcp]:
    """Connect the official client."""
    async with httpx2.AsyncClient(
        auth=auth, verify=serving.provider.trust, timeout=30, trust_env=False
    ) as http:
        transport = streamable_http_client(serving.uri(path), http_client=http)
        async with Mcp(transport, mode=mode, read_timeout_seconds=30, cache=None) as client:
            yield client


def intents(serving: Serving, subject: str) -> list[dict[str, Any]]:
    """Give the calls of somebody that went to a server, as the journal has them."""
    return [
        each
        for each in serving.gateway.records()
        if each["kind"] == "call.intent" and each["subject"] == subject
    ]


def is_served(got: Got) -> bool:
    return got.status == 200 and "result" in got.json


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_that_knows_the_url_alone_registers_logs_in_and_calls(
    serving: Serving, mode: str
) -> None:
    browser, kept = Browser(serving.provider, "alice"), Kept()
    oauth = logging_in(serving.uri("/mcp"), browser, kept)
    before = len(intents(serving, "alice"))
    async with connected(serving, "/mcp", oauth, mode) as client:
        assert "old__echo" in {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool("old__echo", {"text": "hello"})
        assert result.content[0].text == "hello"  # type: ignore[union-attr]  # it is text
        assert len(browser.asked) == 1
        assert browser.asked[0]["resource"] == serving.uri("/mcp")
        assert kept.registered is not None
        assert kept.registered.client_id == browser.asked[0]["client_id"]

        record = intents(serving, "alice")[before]
        assert (record["issuer"], record["roles"]) == (serving.provider.url, ["user"])


async def test_a_token_that_ended_is_renewed_without_anybody_at_the_browser(serving: Serving) -> None:
    browser, kept = Browser(serving.provider, "alice"), Kept(DESKTOP)
    oauth = logging_in(serving.uri("/scoped"), browser, kept)
    async with connected(serving, "/scoped", oauth, "legacy") as client:
        assert await client.list_tools()
        oauth.context.token_expiry_time = 1.0
        assert await client.list_tools()
    assert len(browser.asked) == 1
    first, second = kept.tokens
    assert first.access_token != second.access_token


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_the_token_is_not_for_is_asked_for_at_the_browser_and_made(
    serving: Serving, mode: str
) -> None:
    browser, kept = Browser(serving.provider, "alice"), Kept(DESKTOP)
    oauth = logging_in(serving.uri("/scoped"), browser, kept)
    async with connected(serving, "/scoped", oauth, mode) as client:
        await client.call_tool("old__echo", {"text": "x"})
        result = await client.call_tool("old__add", {"a": 1, "b": 2})
        assert result.content[0].text == "3"  # type: ignore[union-attr]  # it is text
        await client.call_tool("old__echo", {"text": "x"})
    asked = [set(each["scope"].split()) & set(SCOPES) for each in browser.asked]
    assert asked == [{"tools:echo"}, set(SCOPES)]


@pytest.mark.parametrize("path", FORMATS)
async def test_a_workload_gets_its_token_by_its_own_secret(serving: Serving, path: str) -> None:
    kept = Kept()
    oauth = ClientCredentialsOAuthProvider(
        serving.uri(path), kept, "nightly", SECRET, issuer=serving.provider.url
    )
    async with connected(serving, path, oauth, "legacy") as client:
        await client.call_tool("old__echo", {"text": "x"})
    assert (kept.tokens[0].access_token.count(".") == 2) == (path == "/mcp")
    assert intents(serving, "nightly")[-1]["issuer"] == serving.provider.url


async def test_who_is_in_no_group_that_counts_logs_in_and_is_shown_nothing(serving: Serving) -> None:
    browser = Browser(serving.provider, "bob")
    async with connected(
        serving, "/mcp", logging_in(serving.uri("/mcp"), browser, Kept()), "legacy"
    ) as client:
        assert not (await client.list_tools()).tools
    assert not intents(serving, "bob")


def test_two_endpoints_do_not_take_each_others_tokens(serving: Serving) -> None:
    tokens = {path: serving.token("nightly", path) for path in ("/mcp", "/other", "/opaque")}
    taken = {
        (issued, path)
        for issued, token in tokens.items()
        for path in tokens
        if is_served(serving.plain.ask(path, token))
    }
    assert taken == {(path, path) for path in tokens}


def test_the_provider_has_no_tokens_for_what_it_does_not_know(serving: Serving) -> None:
    form = {"grant_type": "client_credentials", "resource": serving.uri("/elsewhere")}
    got = serving.provider.post("token_endpoint", "nightly", form)
    assert (got.status_code, got.json()["error"]) == (400, "invalid_target")


def test_a_claim_of_the_provider_limits_what_a_call_may_ask_for(serving: Serving) -> None:
    for path in FORMATS:
        token = serving.token("nightly", path)

        def call(steps: int, path: str = path, token: str = token) -> Got:
            params = {"name": "old__slow", "arguments": {"seconds": 0, "steps": steps}}
            return serving.plain.ask(path, token, method="tools/call", params=params)

        assert is_served(call(10))
        refused = call(11)
        assert refused.json["error"]["code"] == -31003


def test_a_token_that_was_taken_back_is_refused_when_its_time_is_over(serving: Serving) -> None:
    token = serving.token("nightly", "/opaque")
    assert is_served(serving.plain.ask("/opaque", token))
    serving.provider.revoke("nightly", token)
    began = time.monotonic()
    serving.gateway.until(
        lambda: serving.plain.ask("/opaque", token).status == 401, "the token to be refused"
    )
    assert time.monotonic() - began < 10  # KEEP is 1; the default would be 60


def test_a_stream_that_is_open_ends_when_its_token_is_taken_back(serving: Serving) -> None:
    token = serving.token("nightly", "/opaque")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    with httpx2.Client(verify=serving.provider.trust, timeout=20, trust_env=False, headers=headers) as http:
        begun = http.post(serving.uri("/opaque"), json=INITIALIZE)
        session = {"Mcp-Session-Id": begun.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}
        with http.stream("GET", serving.uri("/opaque"), headers=session) as stream:
            assert stream.status_code == 200
            serving.provider.revoke("nightly", token)
            for _ in stream.iter_lines():  # nothing is told, and then it is over
                pass
        assert http.get(serving.uri("/opaque"), headers=session).status_code == 401


@pytest.mark.parametrize("path", FORMATS)
def test_a_token_bound_to_a_key_is_good_with_proofs_of_that_key_alone(serving: Serving, path: str) -> None:
    alice, mallory = Prover(), Prover()
    token = serving.token("nightly", path, by=alice)
    assert is_served(serving.plain.prove(alice, token, path))
    assert serving.plain.prove(mallory, token, path).status == 401
    assert serving.plain.ask(path, token).status == 401


@pytest.mark.parametrize("path", FORMATS)
def test_a_token_bound_to_a_certificate_is_good_beside_that_alone(serving: Serving, path: str) -> None:
    own, other = serving.certificate("sealed"), serving.certificate("mallory")
    token = serving.token("sealed", path, shown=own)
    assert is_served(Client(serving.plain.base, own).ask(path, token))
    assert Client(serving.plain.base, other).ask(path, token).status == 401
    assert serving.plain.ask(path, token).status == 401


def test_keys_that_the_provider_changes_are_followed(serving: Serving) -> None:
    before = serving.token("nightly", "/mcp")
    assert is_served(serving.plain.ask("/mcp", before))
    first = serving.provider.said["keys"][0]
    serving.provider.sign_with(key("second"), first)
    during = serving.token("nightly", "/mcp")
    # Keys that are not known are looked for once in 15 seconds.
    serving.gateway.until(lambda: is_served(serving.plain.ask("/mcp", during)), "the new key to be known")
    assert is_served(serving.plain.ask("/mcp", before))
