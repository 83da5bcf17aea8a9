"""Prompts, resources and completion as a server owes them to its clients."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.offering import Offering
from tests.unit.gateway.setting import OPEN, GatewaySetting, Told
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule
from tidegate.protocol import revisions
from tidegate.testing.fake_runtime import Pipes
from tidegate.testing.scripted import until

Json = dict[str, Any]
ALL: Json = {"tools": {}, "prompts": {}, "resources": {"subscribe": True}, "completions": {}, "logging": {}}


async def opened(gateway: OPEN, server: Offering, **more: Any) -> GatewaySetting:
    """Open a gateway before a server with a tool called `t`."""
    return await gateway(spec("one"), servers={"one": server}, wait=["one__t"], **more)


async def read(made: GatewaySetting, uri: str, **params: Any) -> Told:
    """Read a resource as a modern client that has roots."""
    meta = {revisions.META_VERSION: revisions.MODERN, revisions.META_CAPABILITIES: {"roots": {}}}
    headers = {
        b"mcp-protocol-version": revisions.MODERN.encode(),
        b"mcp-method": b"resources/read",
        b"mcp-name": uri.encode(),
    }
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "resources/read",
        "params": {"uri": uri, "_meta": meta, **params},
    }
    return await made.send(made.call(headers, body, "ann"))


@pytest.mark.parametrize("modern", [True, False])
async def test_what_servers_can_do_is_declared_to_clients_of_both_eras(gateway: OPEN, modern: bool) -> None:
    made = await opened(
        gateway, Offering(ALL, modern=modern, tools=["t"], prompts=["p"], resources=["a://x"])
    )
    discovered = (await made.modern("server/discover")).result["capabilities"]
    body: Json = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}},
    }
    initialized = (await made.send(made.call({}, body, "ann"))).result["capabilities"]
    for declared in (discovered, initialized):
        assert {"tools", "prompts", "resources", "completions", "logging"} <= declared.keys()


@pytest.mark.parametrize(
    ("method", "key", "name"),
    [("tools/list", "tools", "one__t"), ("prompts/list", "prompts", "one__p"), ("resources/list", "resources", "a://one__x")],
)  # fmt: skip
async def test_a_list_is_the_same_on_every_connection_and_after_any_request(
    gateway: OPEN, method: str, key: str, name: str
) -> None:
    made = await opened(gateway, Offering(ALL, tools=["t"], prompts=["p"], resources=["a://x"]))
    first = (await made.modern(method)).result[key]
    assert name in str(first)
    client, other = await made.client(), await made.client()
    await client.tool("one__t")
    await read(made, "a://one__x")
    for told in (await made.modern(method), await client.ask(method), await other.ask(method)):
        assert told.result[key] == first


@pytest.mark.parametrize("modern", [True, False])
async def test_a_resource_that_its_server_does_not_have_is_32602_with_its_uri(
    gateway: OPEN, modern: bool
) -> None:
    server = Offering(ALL, modern=modern, tools=["t"], resources=["a://x"])
    server.errors["resources/read"] = -32602 if modern else -32002
    told = await read(await opened(gateway, server), "a://one__gone")
    assert server.count("resources/read") == 1
    assert told.error["code"] == -32602
    if not modern:
        assert told.error["data"] == {"uri": "a://one__gone"}


class Curious(Offering):
    """Asks for roots before it lets `a://x` be read; what it gives holds for a minute, for all."""

    def _answer(self, pipes: Pipes, message: Json) -> None:
        if message["method"] == "resources/read":
            params = message["params"]
            result: Json = {"resultType": "complete", "contents": [], "ttlMs": 60_000, "cacheScope": "public"}
            if params["uri"] == "a://x" and "inputResponses" not in params:
                result = {"resultType": "input_required", "inputRequests": {"r": {"method": "roots/list"}}}
            self._say(pipes, {"jsonrpc": "2.0", "id": message["id"], "result": result})
        else:
            super()._answer(pipes, message)


async def test_the_result_of_a_retry_is_not_kept_and_another_is(gateway: OPEN) -> None:
    server = Curious(ALL, modern=True, tools=["t"], resources=["a://x", "a://y"])
    made = await opened(gateway, server)
    asked = (await read(made, "a://one__x")).result
    assert asked["resultType"] == "input_required"
    again: Json = {"inputResponses": {"r": {"roots": []}}}
    again |= {"requestState": asked["requestState"]} if "requestState" in asked else {}
    assert (await read(made, "a://one__x", **again)).result["resultType"] == "complete"
    assert (await read(made, "a://one__x")).result["resultType"] == "input_required"
    before = server.count("resources/read")
    for _ in range(2):
        assert (await read(made, "a://one__y")).result["resultType"] == "complete"
    assert server.count("resources/read") == before + 1


@pytest.mark.parametrize("uri", ["a://nobody__x", "nonsense", "", "a://one__x\n", "a:" + "x" * 5000])
async def test_a_uri_that_is_nobodys_or_none_is_32602_and_reaches_no_server(gateway: OPEN, uri: str) -> None:
    servers = {name: Offering(ALL, tools=["t"], resources=["a://x"]) for name in ("one", "two")}
    made = await gateway(spec("one"), spec("two"), servers=servers, wait=["one__t", "two__t"])
    client = await made.client()
    assert (await client.ask("resources/read", uri=uri)).error["code"] == -32602
    assert [each.count("resources/read") for each in servers.values()] == [0, 0]


async def test_what_is_denied_cannot_be_found_out_by_completion(gateway: OPEN) -> None:
    rules = (Rule(Effect.DENY, prompts=("secret",)), Rule(Effect.ALLOW))
    server = Offering(ALL, tools=["t"], prompts=["open", "secret"])
    server.raw["completion/complete"] = b'{"completion":{"values":["a"]}}'
    made = await opened(gateway, server, endpoints=[EndpointSpec("/mcp", ("one",), rules=rules)])
    await until(lambda: server.count("prompts/list") > 0)
    argument = {"name": "a", "value": ""}
    codes = {}
    for name in ("open", "secret", "never"):
        ref = {"type": "ref/prompt", "name": f"one__{name}"}
        told = await made.modern("completion/complete", ref=ref, argument=argument)
        codes[name] = told.message.get("error", {}).get("code")
    assert codes["open"] is None
    assert codes["secret"] == codes["never"] == -32602
    assert server.count("completion/complete") == 1
    told = await made.modern("completion/complete", ref={"type": "ref/odd"}, argument=argument)
    assert told.error["code"] == -32602
