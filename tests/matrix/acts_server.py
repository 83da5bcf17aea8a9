"""What a client does with what servers offer: tools, resources, prompts, completion, and their definitions."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from typing import Any

import mcp_types as types

from tests.matrix.peer import MODERN, UI_TYPE, Json, Peer, refused

INVALID = -32602
ICON = {"src": "data:image/png;base64,iVBORw0KGgo=", "mimeType": "image/png", "sizes": ["48x48", "any"]}
HEADERS = ("resultType", "ttlMs", "cacheScope")


async def tools(peer: Peer) -> None:
    """Call tools: success, failure of the tool, an error of its own, a name that nothing has."""
    assert await peer.text("echo", {"text": "héllo"}) == "héllo"
    failed = await peer.call("fails")
    assert failed.is_error
    assert "always fails" in failed.content[0].text  # type: ignore[union-attr]
    broken = await refused(peer.raw("tools/call", {"name": peer.shown.name("breaks"), "arguments": {}}), 1234)
    assert broken.error.data == {"extra": [1, 2]}
    unknown = peer.raw("tools/call", {"name": peer.shown.name("nothing_such"), "arguments": {}})
    await refused(unknown, INVALID)


async def definitions(peer: Peer) -> None:
    """See a tool's definition whole: icons, annotations, `_meta`, and fields of no revision."""
    tool = await peer.tool("echo")
    assert tool["title"] == "Echo"
    assert tool["icons"] == [ICON, {"src": "https://example.com/icon.svg", "theme": "dark"}]
    assert tool["annotations"]["readOnlyHint"] is True
    assert tool["annotations"]["vendorHint"] == "kept"
    assert tool["_meta"]["com.example/kind"] == "tool"
    assert tool["futureField"] == {"a": [1, 2.0, None]}
    assert isinstance(tool["futureField"]["a"][1], float)
    prompt = await peer.listed("prompts/list", "prompts", "name", peer.shown.name("greet"))
    assert (prompt["title"], prompt["icons"]) == ("Greeting", [ICON])
    assert prompt["_meta"]["com.example/kind"] == "prompt"
    uri = peer.shown.uri("note://list/text")
    resource = await peer.listed("resources/list", "resources", "uri", uri)
    assert (resource["icons"], resource["size"]) == ([ICON], 11)
    assert resource["annotations"]["lastModified"] == "2026-01-02T03:04:05Z"


async def structured(peer: Peer) -> None:
    """Get structured output as it was made, numbers included, and its schema."""
    tool = await peer.tool("structured")
    assert tool["outputSchema"]["$defs"] == {"half": {"$anchor": "half", "type": "number"}}
    assert tool["outputSchema"]["properties"]["half"] == {"$ref": "#/$defs/half"}
    result = await peer.raw("tools/call", {"name": peer.shown.name("structured"), "arguments": {}})
    value = result["structuredContent"]
    assert value == {
        "count": 12345678901234567890,
        "half": 1.0,
        "none": None,
        "deep": {"é": ["\u2028", ""]},
    }
    assert isinstance(value["half"], float)
    assert json.loads(result["content"][0]["text"]) == value
    assert result["content"][0]["annotations"] == {"priority": 1}
    assert result["futureField"] == {"kept": True}
    typed = await peer.call("structured")  # the SDK holds it against the schema
    assert typed.structured_content == value


async def content(peer: Peer) -> None:
    """Get images, sounds, and content of a type that nobody knows."""
    media = await peer.call("media")
    assert [each.type for each in media.content] == ["image", "audio"]
    odd = await peer.raw("tools/call", {"name": peer.shown.name("odd"), "arguments": {}})
    assert odd["content"] == [{"type": "com.example/hologram", "data": {"x": 1.5}}]


async def meta(peer: Peer) -> None:
    """Pass `_meta` both ways, trace context included."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    given: Any = {"com.example/question": {"n": [1]}, "traceparent": trace, "baggage": "a=1"}
    result = await peer.raw("tools/call", {"name": peer.shown.name("meta"), "arguments": {}, "_meta": given})
    seen = json.loads(result["content"][0]["text"])
    assert seen["com.example/question"] == {"n": [1]}
    assert seen["baggage"] == "a=1"
    assert seen["traceparent"].split("-")[1] == trace.split("-")[1]
    assert result["_meta"]["com.example/answer"] == {"n": 1}


async def pages(peer: Peer) -> None:
    """Get every entry of lists that have several pages, once, in order; a foreign cursor is refused."""
    names = [each["name"] for each in await peer.pages("tools/list", "tools")]
    own = [name for name in names if name.startswith(peer.shown.name(""))]
    wanted = [
        "echo",
        "structured",
        "odd",
        "media",
        "meta",
        "links",
        "panel",
        "fails",
        "touch",
        "ask_form",
        "job",
    ]
    found = [name for name in own if name in {peer.shown.name(each) for each in wanted}]
    assert found == [peer.shown.name(each) for each in wanted]
    assert len(set(names)) == len(names)
    for method, key, by in (
        ("prompts/list", "prompts", "name"), ("resources/list", "resources", "uri"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    ):  # fmt: skip
        entries = [each[by] for each in await peer.pages(method, key)]
        assert len(entries) >= 4
        assert len(set(entries)) == len(entries)
    await refused(peer.raw("tools/list", {"cursor": "no cursor of anybody's"}), INVALID)


async def resources(peer: Peer) -> None:
    """Read text, bytes, URIs without an authority, and none that there is."""
    uri = peer.shown.uri("note://list/text")
    await peer.listed("resources/list", "resources", "uri", uri)
    read = await peer.raw("resources/read", {"uri": uri})
    assert read["contents"][0]["text"] == "héllo wörld"
    assert read["contents"][0]["uri"] == uri
    assert read["contents"][0]["_meta"] == {"com.example/read": True}
    blob = (await peer.client.read_resource(peer.shown.uri("note://list/blob"))).contents[0]
    assert isinstance(blob, types.BlobResourceContents)
    assert base64.b64decode(blob.blob) == bytes(range(256))
    memo = await peer.raw("resources/read", {"uri": peer.shown.uri("memo:plain")})
    assert memo["contents"][0]["uri"] == peer.shown.uri("memo:plain")
    page = await peer.raw("resources/read", {"uri": "https://example.com/page"})
    assert page["contents"][0]["uri"] == "https://example.com/page"
    missing = peer.raw("resources/read", {"uri": peer.shown.uri("note://none/such")})
    error = await refused(missing, INVALID, *(() if peer.modern else (-32002,)))
    assert error.error.data["uri"] == peer.shown.uri("note://none/such"), error.error


async def templates(peer: Peer) -> None:
    """Read what a template gives, as the template is shown."""
    shown = [
        peer.shown.uri(each)
        for each in ("note://items/{id}", "memo:item-{id}", "https://example.com/items/{id}")
    ]
    listed = {
        each["uriTemplate"] for each in await peer.pages("resources/templates/list", "resourceTemplates")
    }
    assert listed >= set(shown)
    for template in shown:
        uri = template.replace("{id}", "7")
        read = await peer.raw("resources/read", {"uri": uri})
        assert read["contents"][0]["text"] == "item 7"
        assert read["contents"][0]["uri"] == uri


async def unlisted(peer: Peer) -> None:
    """Read resources that no list has."""
    for uri, text in (("note://deep/unlisted", "found below"), ("memo:deep", "a memo below")):
        read = await peer.raw("resources/read", {"uri": peer.shown.uri(uri)})
        assert read["contents"][0]["text"] == text
        assert read["contents"][0]["uri"] == peer.shown.uri(uri)


async def links(peer: Peer) -> None:
    """Follow the links that a tool gives."""
    result = await peer.raw("tools/call", {"name": peer.shown.name("links"), "arguments": {}})
    deep, memo, page, embedded = result["content"]
    assert deep["uri"] == peer.shown.uri("note://deep/unlisted")
    assert deep["icons"] == [ICON]
    assert memo["uri"] == peer.shown.uri("memo:deep")
    assert page["uri"] == "https://example.com/page"
    assert embedded["resource"]["uri"] == peer.shown.uri("note://embedded/one")
    for each in (deep, memo, page, embedded["resource"]):
        read = await peer.raw("resources/read", {"uri": each["uri"]})
        assert read["contents"][0]["uri"] == each["uri"]


async def apps(peer: Peer) -> None:
    """Show a tool's app: its `ui://` resource is in no list."""
    tool = await peer.tool("panel")
    uri = peer.shown.uri("ui://features/panel")
    assert tool["_meta"]["ui"] == {"resourceUri": uri, "visibility": ["model", "app"]}
    assert tool["_meta"]["ui/resourceUri"] == uri
    listed = {each["uri"] for each in await peer.pages("resources/list", "resources")}
    assert uri not in listed
    contents = (await peer.raw("resources/read", {"uri": uri}))["contents"][0]
    assert (contents["uri"], contents["mimeType"]) == (uri, UI_TYPE)
    assert contents["text"] == "<!doctype html><title>panel</title>"
    assert contents["_meta"]["ui"]["csp"] == {"connectDomains": ["https://example.com"]}
    if peer.alone:
        only = await peer.tool("panel_only")
        assert only["_meta"]["ui"]["visibility"] == ["app"]
        assert await peer.text("panel_only") == "for the panel"
    else:  # another server's app must not call it (MCP Apps, Visibility), and there nobody can tell whose an app is
        await refused(
            peer.raw("tools/call", {"name": peer.shown.name("panel_only"), "arguments": {}}), INVALID
        )


async def prompts(peer: Peer) -> None:
    """Get prompts, with arguments and with a resource inside."""
    got = await peer.client.get_prompt(peer.shown.name("greet"), {"city": "Prague"})
    said = got.messages[0].content
    assert isinstance(said, types.TextContent)
    assert said.text == "Greetings from Prague"
    raw = await peer.raw("prompts/get", {"name": peer.shown.name("greet"), "arguments": {"city": "x"}})
    assert raw["_meta"]["com.example/made"] == "greet"
    inside = await peer.raw("prompts/get", {"name": peer.shown.name("with_resource")})
    assert inside["messages"][1]["content"]["resource"]["uri"] == peer.shown.uri("note://embedded/one")
    await refused(peer.raw("prompts/get", {"name": peer.shown.name("greet"), "arguments": {}}), INVALID)
    await refused(peer.raw("prompts/get", {"name": peer.shown.name("none_such")}), INVALID)


async def completion(peer: Peer) -> None:
    """Complete arguments of a prompt and of a template, with what was chosen before."""
    prompt = types.PromptReference(type="ref/prompt", name=peer.shown.name("greet"))
    found = await peer.client.complete(prompt, {"name": "city", "value": "pr"})
    assert found.completion.values == ["Prague"]
    uri = peer.shown.uri("note://cities/{country}/{city}")
    reference = {"type": "ref/resource", "uri": uri}
    raw = await peer.raw("completion/complete", {
        "ref": reference, "argument": {"name": "city", "value": "P"}, "context": {"arguments": {"country": "Italy"}},
    })  # fmt: skip
    assert raw["completion"]["values"] == ["Parma", "Pisa"]
    assert raw["completion"]["com.example/country"] == "Italy"
    nowhere = {"type": "ref/resource", "uri": peer.shown.uri("note://none/{such}")}
    await refused(
        peer.raw("completion/complete", {"ref": nowhere, "argument": {"name": "a", "value": ""}}), INVALID
    )


async def headers(peer: Peer) -> None:
    """Repeat arguments in headers where the tool says so: checked, and made anew for the server."""
    tool = await peer.tool("region")
    assert tool["inputSchema"]["properties"]["region"]["x-mcp-header"] == "Region"
    arguments = {"region": "eu-wést", "place": {"row": 7}}
    seen = await peer.json("region", arguments)
    assert seen["arguments"] == arguments
    if peer.upstream == "modern" and peer.carrier == "http":
        encoded = base64.b64encode("eu-wést".encode()).decode()
        assert seen["headers"] == {
            "mcp-param-region": f"=?base64?{encoded}?=", "mcp-param-row": "7", "mcp-name": "region",
        }  # fmt: skip
    if peer.modern and not (peer.direct and peer.carrier == "stdio"):
        call: Json = {"name": peer.shown.name("region"), "arguments": {"region": "eu"}}
        wrong = peer.raw("tools/call", call, headers={"Mcp-Param-Region": "us"})
        await refused(wrong, -32020)


async def list_changes(peer: Peer, kind: str) -> None:
    """Hear that a list is another, and see the new entry in it."""
    name = f"added_{uuid.uuid4().hex[:8]}"
    by, shown = (
        ("uri", peer.shown.uri(f"note://added/{name}"))
        if kind == "resources"
        else ("name", peer.shown.name(name))
    )
    async with listening(peer, **{f"{kind}_list_changed": True}) as heard:
        for there in (True, False):
            await peer.text("change", {"kind": kind, "name": name})
            entries: list[str] | None = None
            while entries is None or (shown in entries) != there:  # other servers' lists change too
                await heard(f"notifications/{kind}/list_changed")
                entries = [each[by] for each in await peer.pages(f"{kind}/list", kind)]


async def subscriptions(peer: Peer) -> None:
    """Hear of changes of a resource subscribed to, and of no other."""
    one, two = peer.shown.uri("note://list/text"), peer.shown.uri("memo:plain")
    if peer.modern:
        async with peer.client.listen(resource_subscriptions=[one]) as first:
            assert set(first.honored.resource_subscriptions or ()) == {one}
            async with peer.client.listen(resource_subscriptions=[two]) as second:
                for uri in ("note://list/blob", "memo:plain", "note://list/text"):
                    await peer.text("touch", {"uri": uri})
                assert (await asyncio.wait_for(anext(first), 20)).uri == one  # type: ignore[union-attr]
                assert (await asyncio.wait_for(anext(second), 20)).uri == two  # type: ignore[union-attr]
        return
    await peer.raw("resources/subscribe", {"uri": one})
    await peer.raw("resources/subscribe", {"uri": two})
    await peer.text("touch", {"uri": "note://list/blob"})
    await peer.text("touch", {"uri": "note://list/text"})
    await peer.told("notifications/resources/updated", uri=one)
    await peer.raw("resources/unsubscribe", {"uri": one})
    peer.noted.clear()
    await peer.text("touch", {"uri": "note://list/text"})
    await peer.text("touch", {"uri": "memo:plain"})
    await peer.told("notifications/resources/updated", uri=two)
    told = [each.params.uri for each in peer.noted if each.method == "notifications/resources/updated"]
    assert [str(uri) for uri in told] == [two]
    await peer.raw("resources/unsubscribe", {"uri": two})


class listening:
    """Listen as the client's era does: a stream of its own, or what comes without asking."""

    def __init__(self, peer: Peer, **wanted: bool) -> None:
        self._peer, self._wanted, self._open = peer, wanted, None

    async def __aenter__(self) -> Any:
        """Open the stream, and give what waits for a notification."""
        if self._peer.mode == MODERN:
            self._open = self._peer.client.listen(**self._wanted)
            stream = await self._open.__aenter__()
            assert all(getattr(stream.honored, each) for each in self._wanted)

            async def heard(method: str) -> None:
                await asyncio.wait_for(anext(stream), 20)

            return heard

        async def noted(method: str) -> None:
            await self._peer.told(method)
            self._peer.noted.clear()

        return noted

    async def __aexit__(self, *about: Any) -> None:
        """Close it."""
        if self._open is not None:
            await self._open.__aexit__(*about)
