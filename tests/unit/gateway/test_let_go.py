"""What a client sent lives as long as its call, however long a server's channel may tell what is for that call."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from typing import Any

from tests.unit.fleet.setting import spec
from tests.unit.gateway.asking import AskingServer
from tests.unit.gateway.setting import OPEN, Client, GatewaySetting, Json
from tidegate.gateway.call import Answer, Call
from tidegate.ports.identity import Credentials
from tidegate.protocol import inbound, revisions
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import Object, decode_message
from tidegate.testing.memory_server import MemoryServer

LARGE = "x" * 10_000


class Sent:
    """A call, and whether anybody still has its body."""

    def __init__(self, made: GatewaySetting, headers: dict[bytes, bytes], message: Json) -> None:
        self._body = json.dumps(message).encode()
        self._alone = sys.getrefcount(self._body)
        self.made = made
        read = inbound.read(headers, decode_message(self._body))
        number = str(message["id"])
        self.call = Call(number, read, made.endpoints["/mcp"], Credentials(b"ann", "192.0.2.1"), made.time())
        self.call.size = len(self._body)
        self.told: list[str] = []
        self.call.notify = self._hear

    def _hear(self, method: str, params: Object) -> None:
        self.told.append(method)

    async def done(self) -> Answer:
        """Have it handled."""
        self.call.task = asyncio.current_task()
        return await self.made.pipeline.handle(self.call)

    @property
    def kept(self) -> bool:
        """Whether its body is still referred to."""
        gc.collect()
        return sys.getrefcount(self._body) > self._alone


def legacy(client: Client, method: str, **params: Any) -> Sent:
    headers = {b"mcp-protocol-version": b"2025-11-25", b"mcp-session-id": client.session.encode()}
    return Sent(client.gateway, headers, {"jsonrpc": "2.0", "id": 5, "method": method, "params": params})


def modern(made: GatewaySetting, name: str, **params: Any) -> Sent:
    headers = {b"mcp-protocol-version": revisions.MODERN.encode(), b"mcp-method": b"tools/call"}
    headers[b"mcp-name"] = name.encode()
    form: Json = {"elicitation": {"form": {}}}
    meta = {revisions.META_VERSION: revisions.MODERN, revisions.META_CAPABILITIES: form, "progressToken": "p"}
    params = {"name": name, "arguments": {"text": LARGE}, **params, "_meta": meta}
    return Sent(made, headers, {"jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": params})


async def test_a_call_that_is_answered_keeps_nothing_of_its_body(gateway: OPEN) -> None:
    made = await gateway()
    sent = legacy(await made.client(), "tools/call", name="one__echo", arguments={"text": LARGE})
    assert sent.kept
    answer = await sent.done()
    assert LARGE.encode() in answer.body
    assert not sent.kept
    assert (sent.call.method, bytes(sent.call.inbound.message.id or b"")) == ("tools/call", b"5")
    sent.call.hear("notifications/progress", {})
    assert sent.told == []


async def test_a_refused_call_keeps_nothing_either_and_its_record_says_what_it_was(gateway: OPEN) -> None:
    made = await gateway()
    sent = legacy(await made.client(), "tools/call", name="one__none", arguments={"text": LARGE})
    answer = await sent.done()
    assert json.loads(answer.body)["error"]["code"] == -32602
    assert not sent.kept
    (record,) = made.records("refused")
    assert record["data"]["name"] == "one__none"


async def test_a_call_that_is_cancelled_can_still_be_said_to_have_been(gateway: OPEN) -> None:
    made = await gateway()
    server = made.fleet.servers["one"]
    sent = legacy(await made.client(), "tools/call", name="one__waits", arguments={"text": LARGE})
    handling = asyncio.create_task(sent.done())
    await made.time.until(lambda: server.calls)
    handling.cancel()
    await asyncio.wait([handling])
    assert sent.call.params  # the edge refuses it next
    assert handling.cancelled()


async def test_what_a_modern_client_offers_is_known_when_its_body_is_gone(gateway: OPEN) -> None:
    made = await gateway()
    sent = modern(made, "one__echo")
    await sent.done()
    assert not sent.kept
    assert (sent.call.offer, sent.call.inbound.modern) == (Offer.FORM, True)


async def test_a_parked_call_keeps_its_body_until_it_is_over(gateway: OPEN) -> None:
    server = AskingServer(modern=False)
    made = await gateway(spec("one"), servers={"one": server}, wait=["one__form"])
    first = modern(made, "one__twice")
    asked = json.loads((await first.done()).body)["result"]
    assert first.kept
    sent = [first]
    while asked["resultType"] == "input_required":
        answers = {key: {"action": "decline"} for key in asked["inputRequests"]}
        sent.append(modern(made, "one__twice", inputResponses=answers, requestState=asked["requestState"]))
        asked = json.loads((await sent[-1].done()).body)["result"]
    assert len(sent) == 3
    assert [each.kept for each in sent] == [False] * 3


async def test_a_parked_call_whose_client_does_not_come_back_is_let_go_of(gateway: OPEN) -> None:
    server = AskingServer(modern=False)
    made = await gateway(spec("one"), servers={"one": server}, wait=["one__form"])
    sent = modern(made, "one__form")
    await sent.done()
    assert sent.kept
    await made.time.until(lambda: not len(made.built.parked), 1000)
    await made.time.settle()
    assert not sent.kept


async def test_the_progress_of_a_task_keeps_its_token_and_no_more(gateway: OPEN) -> None:
    server = MemoryServer()
    made = await gateway(spec("one"), servers={"one": server})
    sent = legacy(
        await made.client(),
        "tools/call", name="one__echo", arguments={"text": LARGE}, task={}, _meta={"progressToken": "p"},
    )  # fmt: skip
    await sent.done()
    assert not sent.kept
