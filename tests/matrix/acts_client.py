"""What servers ask and tell while they work: elicitation, sampling, roots, logs, progress; and cancellation."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from tests.matrix.peer import OWN, ROOTS, Json, Peer, refused

LEVELS = ("debug", "info", "error")


async def form(peer: Peer) -> None:
    """Be asked for a form, and accept it or not."""
    assert await peer.json("ask_form", {"text": "Who?"}) == {
        "action": "accept",
        "content": {"name": "someone"},
    }
    kind, params = peer.asked[-1]
    assert kind == "elicitation"
    assert params.message == "Who?"
    schema = (
        params.requested_schema
        if isinstance(params.requested_schema, dict)
        else params.requested_schema.model_dump()
    )
    assert schema["properties"]["name"]["title"] == "Name"
    declined = await peer.json("ask_form", {"text": "please decline"})
    assert declined["action"] == "decline"


async def url(peer: Peer) -> None:
    """Be asked to open a page."""
    assert (await peer.json("ask_url", {"text": "Look"}))["action"] == "accept"
    params = peer.asked[-1][1]
    assert (params.mode, params.message) == ("url", "Look")
    assert str(params.url) == "https://example.com/consent?x=1&y=2"
    if not peer.modern:
        assert params.elicitation_id  # required in 2025-11-25, client/elicitation §URL Mode
        if peer.upstream == "legacy":
            await peer.told("notifications/elicitation/complete", elicitationId=params.elicitation_id)


async def elsewhere(peer: Peer) -> None:
    """Be asked while a prompt is got and a resource is read."""
    prompt = await peer.client.get_prompt(peer.shown.name("ask_me"))
    assert prompt.messages[0].content.text == "asked by someone"  # type: ignore[union-attr]
    read = await peer.client.read_resource(peer.shown.uri("note://ask/me"))
    assert read.contents[0].text == "read by someone"  # type: ignore[union-attr]
    assert str(read.contents[0].uri) == peer.shown.uri("note://ask/me")
    assert [kind for kind, _ in peer.asked] == ["elicitation", "elicitation"]


async def several(peer: Peer) -> None:
    """Be asked several things in several rounds of one call."""
    told = await peer.json("ask_several", {"text": "Who?"})
    assert told["name"]["content"] == {"name": "someone"}
    assert {each["uri"] for each in told["roots"]["roots"]} >= {each["uri"] for each in ROOTS}
    assert told["page"]["action"] == "accept"
    assert sorted(kind for kind, _ in peer.asked) == ["elicitation", "elicitation", "roots"]


async def sampling(peer: Peer) -> None:
    """Be asked for a completion."""
    told = await peer.json("ask_sampling", {"text": "Hello?"})
    assert (told["role"], told["content"]["text"], told["model"]) == ("assistant", "sampled by someone", "m")
    params = peer.asked[-1][1]
    assert (params.system_prompt, params.max_tokens, params.temperature) == ("Be brief.", 100, 0.5)
    assert params.messages[0].content.text == "Hello?"
    assert params.model_preferences.hints[0].name == "quick"


async def sampling_tools(peer: Peer) -> None:
    """Be asked for a completion that may use tools."""
    told = await peer.json("ask_sampling_tools")
    assert told["stopReason"] == "toolUse"
    assert told["content"][1]["type"] == "tool_use"
    assert told["content"][1]["input"] == {"city": "Paris"}
    params = peer.asked[-1][1]
    assert params.tools[0].name == "weather"
    assert params.tool_choice.mode == "required"


async def roots(peer: Peer) -> None:
    """Be asked for the roots, whose URIs are the client's own."""
    told = await peer.json("ask_roots")
    assert told["roots"][:2] == ROOTS
    assert peer.asked == [("roots", None)]


async def roots_changed(peer: Peer) -> None:
    """Tell a server that the roots are others."""
    before = (await peer.json("declared"))["rootsChanged"]
    await peer.tell("notifications/roots/list_changed")
    async with asyncio.timeout(20):
        while (await peer.json("declared"))["rootsChanged"] == before:
            await asyncio.sleep(0)


async def roots_unchanged(peer: Peer) -> None:
    """Tell of other roots where that means nothing: it is taken, and does no harm."""
    await peer.tell("notifications/roots/list_changed")
    assert await peer.text("echo", {"text": "still there"}) == "still there"


async def declared(peer: Peer) -> None:
    """See what a server is told that this client can do: never more than it declared."""
    told = await peer.json("declared")
    offered: Json = told["capabilities"]
    assert set(offered) <= {"elicitation", "sampling", "roots", "extensions", "experimental"}
    assert offered["elicitation"].keys() == {"form", "url"}
    assert "tools" in offered["sampling"]
    assert "context" not in offered["sampling"]
    assert "roots" in offered


async def logging(peer: Peer) -> None:
    """Get log messages from the level asked for on, and none below."""
    for least, levels in (("error", ["error"]), ("debug", list(LEVELS))):
        text = uuid.uuid4().hex
        meta: Any = {f"{OWN}logLevel": least} if peer.modern else None
        if not peer.modern:
            await peer.raw("logging/setLevel", {"level": least})
        await peer.text("log", {"text": text}, meta=meta)

        def told(text: str = text) -> list[str]:
            return [each.level for each in peer.logged if each.data["text"] == text]

        await peer.until(lambda: told()[-1:] == ["error"], f"log messages of {text}")
        assert told() == levels
        assert {each.logger for each in peer.logged} == {"features"}
    if peer.modern:
        before = len(peer.logged)
        await peer.text("log", {"text": "nobody asked"})
        assert len(peer.logged) == before
    else:
        await refused(peer.raw("logging/setLevel", {"level": "loud"}), -32602)


async def progress(peer: Peer) -> None:
    """Hear how far a call is, with a token of the client's."""
    seen: list[tuple[float, float | None, str | None]] = []

    async def told(done: float, total: float | None, message: str | None) -> None:
        seen.append((done, total, message))
        peer.news()

    assert await peer.text("progress", {"steps": 4}, progress_callback=told) == "done"
    await peer.until(lambda: len(seen) == 4, "progress")
    assert seen == [(float(n), 4.0, f"step {n}") for n in range(1, 5)]


async def cancellation(peer: Peer) -> None:
    """Cancel a call: its server hears of it."""
    mark = uuid.uuid4().hex
    began = asyncio.Event()

    async def told(done: float, total: float | None, message: str | None) -> None:
        began.set()

    call = asyncio.create_task(peer.call("wait", {"mark": mark}, progress_callback=told))
    await asyncio.wait_for(began.wait(), 20)
    assert await peer.text("waited", {"mark": mark}) == "waiting"
    call.cancel()
    await asyncio.wait([call], timeout=20)
    assert call.cancelled()
    async with asyncio.timeout(20):
        while await peer.text("waited", {"mark": mark}) != "cancelled":
            await asyncio.sleep(0)


async def ping(peer: Peer) -> None:
    """Ping, where there is such a thing."""
    assert await peer.raw("ping") == {}


async def extension(peer: Peer) -> None:
    """Use a method of an extension that both sides have."""
    result = await peer.raw("com.example/echo", {"value": {"n": 1.0}})
    assert result["echoed"] == {"value": {"n": 1.0}}


def asked_in(peer: Peer) -> str:
    """Give what a client was asked, as text to search."""
    return json.dumps([[kind, str(params)] for kind, params in peer.asked])
