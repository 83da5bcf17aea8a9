"""The feature servers, asked directly: every feature in every form, before a gateway stands between."""

from __future__ import annotations

import httpx2
import pytest

from tests.clients.typescript import LINES
from tests.matrix.features import FEATURES, Feature
from tests.matrix.peer import ECHO, LEGACY, MODERN, NOTHING, Shown, connect, refused
from tests.matrix.typescript import check, questions
from tests.matrix.upstreams import FORMS, Upstream


def features_of(server: Upstream) -> list[Feature]:
    """Give what a server of one era has. Between two of a kind only extensions are refused, by gateways."""
    same = server.era[0] * 2
    return [each for each in FEATURES if same not in each.refusals or each.id == "extension"]


def mode(upstream: Upstream) -> str:
    """Give the client's mode for a server of one era."""
    return MODERN if upstream.era == "modern" else LEGACY


@pytest.mark.parametrize("form", FORMS)
async def test_a_feature_server_has_every_feature(servers: dict[str, Upstream], form: str) -> None:
    server, failed = servers[form], dict[str, str]()
    about = {"upstream": server.era, "carrier": server.carrier, "direct": True}
    async with connect(server.transport(), mode(server), Shown(), **about) as peer:
        for feature in features_of(server):
            peer.forget()
            try:
                await feature.act(peer)
            except Exception as problem:
                failed[feature.id] = repr(problem)
    assert not failed


@pytest.mark.parametrize("form", FORMS)
async def test_a_client_that_declared_nothing_is_asked_nothing(
    servers: dict[str, Upstream], form: str
) -> None:
    server = servers[form]
    async with connect(server.transport(), mode(server), offers=NOTHING) as peer:
        assert (await peer.json("declared"))["capabilities"] == {}
        for tool in ("ask_form", "ask_url", "ask_sampling", "ask_sampling_tools", "ask_roots"):
            if peer.modern:
                error = await refused(peer.raw("tools/call", {"name": tool, "arguments": {}}), -32021)
                assert error.error.data["requiredCapabilities"]
            else:
                assert (await peer.call(tool)).is_error
        await refused(peer.raw(ECHO, {}), -32021 if peer.modern else -32601)


@pytest.mark.parametrize("form", ["old-stdio", "old-http"])
async def test_a_legacy_server_knows_no_other_era(servers: dict[str, Upstream], form: str) -> None:
    async with connect(servers[form].transport(), LEGACY) as peer:
        await refused(peer.raw("server/discover"), -32601)
        assert peer.client.protocol_version == "2025-11-25"


async def test_a_legacy_http_server_refuses_a_modern_request(servers: dict[str, Upstream]) -> None:
    status, body = await _post(servers["old-http"].url, "server/discover")
    assert (status, body["error"]["code"]) == (400, -32600)


async def test_a_modern_server_refuses_initialize(servers: dict[str, Upstream]) -> None:
    status, body = await _post(servers["new-http"].url, "initialize", version=None)
    assert (status, body["error"]["code"]) == (400, -32022)
    assert body["error"]["data"]["supported"] == [MODERN]
    async with connect(servers["new-stdio"].transport(), MODERN) as peer:
        await refused(peer.raw("initialize", {"protocolVersion": "2025-11-25"}), -32022)
        await refused(peer.raw("ping"), -32601)


async def _post(
    url: str, method: str, version: str | None = MODERN
) -> tuple[int, dict[str, dict[str, object]]]:
    headers = {"Accept": "application/json, text/event-stream", "Mcp-Method": method}
    if version:
        headers["MCP-Protocol-Version"] = version
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}
    async with httpx2.AsyncClient() as http:
        got = await http.post(url, json=body, headers=headers)
    return got.status_code, got.json()


@pytest.mark.parametrize("form", ["old-http", "new-http"])
async def test_the_typescript_clients_are_asked_everything_too(
    servers: dict[str, Upstream], form: str
) -> None:
    server = servers[form]
    check(await questions(server.url, mode(server), Shown()), LINES[mode(server)])
