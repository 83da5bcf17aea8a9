"""What servers ask, log and tell of changes, over every transport, from real servers in both eras."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Raw

from tests.integration.channels.conftest import listening
from tests.integration.channels.pipe import running
from tests.servers.launch import argv
from tests.unit.channels.asked_client import Client
from tidegate.channels.channel import Channel, Outbound, Party, Reply
from tidegate.channels.handshake import Patience
from tidegate.channels.place import HttpPlace
from tidegate.channels.sse import SseChannel
from tidegate.channels.stdio import StdioChannel
from tidegate.channels.streamable import StreamableHttpChannel
from tidegate.protocol.capabilities import Offer, declare
from tidegate.protocol.client import introduce
from tidegate.protocol.codec import encode
from tidegate.testing.scripted import until
from tidegate.testing.stream import FreeIntent, HeardEvents

EVERYTHING_OFFERED = introduce("1.0", declare(Offer.FORM | Offer.SAMPLING | Offer.ROOTS))
TRANSPORTS = ["stdio", "http", "sse"]
NOTHING = frozenset[str]()
Start = Callable[..., Awaitable[Any]]


class Person(Client):
    """Answers a form with its own name as soon as it is asked."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def ask(self, method: str, params: Any, answer: Any) -> bool:
        super().ask(method, params, answer)
        if method == "elicitation/create":
            result = {"action": "accept", "content": {"name": self.name, "answer": self.name}}
        elif method == "roots/list":
            result = {"roots": [{"uri": f"file:///{self.name}"}]}
        else:
            content = {"type": "text", "text": self.name}
            result = {"role": "assistant", "content": content, "model": "m"}
        answer(Reply(Raw(encode(result)), None))
        return True


@asynccontextmanager
async def features(start: Start, transport: str, era: str) -> AsyncGenerator[tuple[Channel, HeardEvents]]:
    """Open a channel to the server of all features."""
    events = HeardEvents()
    patience = Patience(30, None if era == "modern" else 0)
    if transport == "stdio":
        piped = StdioChannel(events, epoch="e1")
        async with running(piped, *argv("features_stdio", era)) as stream:
            await piped.open(stream, None, EVERYTHING_OFFERED, patience)
            yield piped, events
            await piped.close()
        return
    url = (await start("features_http", "sse" if transport == "sse" else era)).url
    make = SseChannel if transport == "sse" else StreamableHttpChannel
    channel = make(events, HttpPlace(url), epoch="e1")
    try:
        await channel.open(None, EVERYTHING_OFFERED, patience)
        yield channel, events
    finally:
        await channel.close()


async def call(channel: Channel, tool: str, person: Client | None = None, **arguments: Any) -> dict[str, Any]:
    params = {"name": Raw(encode(tool)), "arguments": Raw(encode(arguments))}
    outbound = Outbound("tools/call", params, name=tool, timeout=20)
    if isinstance(person, Person):
        outbound.holder, outbound.asked, outbound.notify = person.name, person.ask, person.tell
    reply = await channel.call(FreeIntent(), outbound)
    return json.loads(bytes(reply.result or reply.error or b"{}"))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_each_is_asked_its_own_questions_and_none_is_asked_anothers(
    start_server: Start, transport: str
):
    ann, bob = Person("ann"), Person("bob")
    async with features(start_server, transport, "legacy") as (channel, events):
        for tool in ("ask_form", "ask_sampling", "ask_roots"):
            result = await call(channel, tool, ann, text="x")
            assert "ann" in json.dumps(result), result
        assert [method for method, _, _ in ann.asked] == [
            "elicitation/create", "sampling/createMessage", "roots/list",
        ]  # fmt: skip
        assert bob.asked == []
        waiting = asyncio.ensure_future(call(channel, "wait", bob, mark="m"))
        await asyncio.sleep(0)
        result = await call(channel, "ask_form", ann, text="x")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert bob.asked == []
        if transport == "http":
            assert "ann" in json.dumps(result)
            assert events.contended == 0
        else:  # on one pipe it cannot be told
            assert len(ann.asked) == 3
            assert events.contended == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_log_messages_reach_whose_call_they_are_of(start_server: Start, transport: str):
    ann = Person("ann")
    async with features(start_server, transport, "legacy") as (channel, _):
        await channel.want_logs("debug")
        await call(channel, "log", ann, text="words of ann")
        await until(lambda: ann.told)
        assert {method for method, _ in ann.told} == {"notifications/message"}


@pytest.mark.parametrize(
    ("transport", "era"),
    [("stdio", "legacy"), ("http", "legacy"), ("sse", "legacy"), ("stdio", "modern"), ("http", "modern")],
)
async def test_changes_of_resources_and_lists_are_heard_in_either_era(
    start_server: Start, transport: str, era: str
):
    uri = "test://features/watched"
    async with features(start_server, transport, era) as (channel, events):
        await channel.watch(frozenset({uri}), NOTHING)
        await call(channel, "touch", uri=uri)
        await until(lambda: ("notifications/resources/updated", {"uri": uri}) in events.notified)
        await call(channel, "change", kind="tools", name="another")
        await until(lambda: ("notifications/tools/list_changed", {}) in events.notified)
        await channel.watch(NOTHING, NOTHING)
        events.notified.clear()
        await call(channel, "touch", uri=uri)
        await call(channel, "change", kind="prompts", name="another")
        await until(lambda: events.notified)
        assert events.notified == [("notifications/prompts/list_changed", {})]


@pytest.mark.node
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_npms_server_asks_the_one_who_waited_for_it_and_each_caller(everything, transport: str):
    ann, events = Person("ann"), HeardEvents()
    events.callers.append(Party("ann", ann.ask, ann.tell))
    if transport == "stdio":
        piped = StdioChannel(events, epoch="e1")
        async with running(piped, *everything, "stdio") as stream:
            await piped.open(stream, None, EVERYTHING_OFFERED, Patience(30))
            await _be_asked(piped, ann)
            await piped.close()
        return
    async with listening(everything, "sse" if transport == "sse" else "streamableHttp") as url:
        place = HttpPlace(f"{url}/sse" if transport == "sse" else f"{url}/mcp")
        make = SseChannel if transport == "sse" else StreamableHttpChannel
        channel = make(events, place, epoch="e1")
        await channel.open(None, EVERYTHING_OFFERED, Patience(30))
        await _be_asked(channel, ann)
        await channel.close()


async def _be_asked(channel: Channel, ann: Person) -> None:
    await until(lambda: "roots/list" in [method for method, _, _ in ann.asked])
    result = await call(channel, "get-roots-list", ann)
    assert "file:///ann" in json.dumps(result)
    result = await call(channel, "trigger-elicitation-request", ann)
    assert "ann" in json.dumps(result)
    result = await call(channel, "trigger-sampling-request", ann, prompt="say", maxTokens=5)
    assert "ann" in json.dumps(result)
