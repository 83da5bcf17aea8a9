"""Two gateways that share a directory are one to their clients, whichever of them a request comes to."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.gateway.gateway import Gateway, Wire, sdk, until
from tests.integration.sessions.client import Legacy, legacy
from tests.integration.sessions.pair import HAPROXY, Pair, pair
from tests.servers.launch import argv

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed (Debian: apt-get install haproxy)"),
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """A remote legacy server with every feature."""
    command = argv("features_http", "legacy")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("URL "), said
        yield said.split()[1]
        process.kill()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, upstream: str) -> Iterator[Pair]:
    """The pair that all tests here share."""
    with pair(tmp_path_factory.mktemp("pair"), upstream) as made:
        yield made


def said(message: Any) -> str:
    text: str = message["result"]["content"][0]["text"]
    return text


async def other(both: Pair, client: Legacy, request_id: str) -> Gateway:
    """Say which gateway a client's call is not at."""

    def found() -> Gateway | None:
        busy = [each.status()["in_flight"] for each in both.gateways]
        return both.gateways[busy.index(0)] if sorted(busy) == [0, 1] else None

    gateway: Gateway = await until(found, f"{request_id} to be at one gateway")
    return gateway


async def test_a_session_is_good_at_both_and_requests_go_to_both(both: Pair) -> None:
    before = [len(each.records()) for each in both.gateways]
    wire = await Wire(both.url, key=both.key).open()
    for _ in range(10):
        assert await wire.text("far__echo", {"text": "x"}) == "x"
    for gateway, count in zip(both.gateways, before, strict=True):
        records = gateway.records()[count:]
        assert sum(each["kind"] == "call.intent" for each in records) >= 3


async def test_the_official_client_works_through_both(both: Pair) -> None:
    async with sdk(both.url, "legacy", both.key) as client:
        for number in range(6):
            result = await client.call_tool("far__echo", {"text": str(number)})
            assert result.content[0].text == str(number)


async def test_a_session_ended_at_one_is_ended_at_both_when_that_is_answered(both: Pair) -> None:
    for first, second in ((both.one, both.two), (both.two, both.one)):
        async with legacy(both.url, both.key) as client:
            assert [await client.ping(each.url()) for each in both.gateways] == [200, 200]
            listening = await client.listen(url=second.url())
            assert await client.end(first.url()) == 200
            assert [await client.ping(each.url()) for each in both.gateways] == [404, 404]
            await listening.until(lambda heard: heard.over)


async def test_a_question_is_answered_through_whichever_gateway_the_answer_comes_to(both: Pair) -> None:
    async with legacy(both.url, both.key, elicitation={"form": {}}) as client:
        for at in (None, both.one, both.two):
            call = await client.call("q", "far__ask_form", text="name?")
            question = await call.method("elicitation/create")
            answer = {"id": question["id"], "result": {"action": "accept", "content": {"answer": "yes"}}}
            assert await client.post(answer, at.url() if at else "") == 202
            assert "result" in await call.answer("q")


async def test_a_modern_client_answers_a_parked_call_at_the_other_gateway(both: Pair) -> None:
    offer = {"elicitation": {"form": {}}}
    one, two = (Wire(each.url(), True, both.key, offer=offer) for each in both.gateways)
    call: dict[str, Any] = {"name": "far__ask_form", "arguments": {"text": "name?"}}
    for here, there in ((one, two), (two, one), (one, one)):
        asked = (await here.ask("tools/call", call)).message["result"]
        assert asked["resultType"] == "input_required"
        (key,) = asked["inputRequests"]
        answer = {"inputResponses": {key: {"action": "accept", "content": {"answer": "yes"}}}}
        retry = {**call, **answer, "requestState": asked["requestState"]}
        done = (await there.ask("tools/call", retry)).message
        assert json.loads(done["result"]["content"][0]["text"])["action"] == "accept"
        again = (await here.ask("tools/call", retry)).message
        assert again["error"]["data"]["reason"] == "state_invalid"


async def test_a_call_is_cancelled_through_whichever_gateway_is_told(both: Pair) -> None:
    async with legacy(both.url, both.key) as client:
        for number in range(2):
            call = await client.call(f"c{number}", "far__wait", mark=f"cancelled-{number}")
            await call.method("notifications/progress")
            elsewhere = await other(both, client, f"c{number}")
            named = {"method": "notifications/cancelled", "params": {"requestId": f"c{number}"}}
            assert await client.post(named, elsewhere.url()) == 202
            assert (await call.answer(f"c{number}"))["error"]["code"] == -31008


async def test_a_stream_that_was_lost_is_taken_up_at_the_other_gateway(both: Pair) -> None:
    async with legacy(both.url, both.key, elicitation={"form": {}}) as client:
        call = await client.call("lost", "far__ask_form", text="name?")
        question = await call.method("elicitation/create")
        elsewhere = await other(both, client, "lost")
        await call.lose()
        again = await client.listen(call.ids[-1], elsewhere.url())
        assert again.status == 200
        answer = {"id": question["id"], "result": {"action": "accept", "content": {"answer": "yes"}}}
        assert await client.post(answer, elsewhere.url()) == 202
        assert "result" in await again.answer("lost")
        await again.until(lambda heard: heard.over)


async def test_what_a_server_tells_comes_on_the_sessions_stream_wherever_that_is(both: Pair) -> None:
    async with legacy(both.url, both.key) as client:
        streams = [await client.listen(url=each.url()) for each in both.gateways]
        await (await client.call("t", "far__change", kind="tools", name="added")).answer("t")
        for each in streams:
            await each.method("notifications/tools/list_changed")


async def test_a_key_that_is_revoked_at_one_is_good_at_none(both: Pair) -> None:
    made = both.two.command("key", "create", "--name", "bob", "--json")
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    async with legacy(both.url, key["key"]) as client:
        assert [await client.ping(each.url()) for each in both.gateways] == [200, 200]
        assert both.one.command("key", "revoke", key["id"]).returncode == 0
        for each in both.gateways:
            await until(lambda each=each: asyncio.run(status(each, client)) == 401, "the key to be refused")


async def status(gateway: Gateway, client: Legacy) -> int:
    wire = client.wire
    again = Legacy(gateway.url(), wire.key)
    again.wire.session = wire.session
    try:
        return await again.ping()
    finally:
        await again.close()


async def test_what_was_open_at_a_gateway_that_died_is_told_by_the_other(both: Pair) -> None:
    """The last one here: it leaves one gateway dead."""
    async with legacy(both.url, both.key) as client:
        call = await client.call("open", "far__wait", mark="died")
        await call.method("notifications/progress")
        alive = await other(both, client, "open")
        dead = both.one if alive is both.two else both.two
        listening = await client.listen(url=dead.url())
        await listening.until(lambda heard: heard.ids)
        dead.kill()
        await call.until(lambda heard: heard.over)
        told = await (await client.listen(call.ids[-1])).answer("open")
        assert told["error"]["code"] == -31002
        again = await client.listen(listening.ids[-1])
        await again.method("notifications/tools/list_changed")
        for number in range(6):
            assert (
                said(await (await client.call(number, "far__echo", text="still")).answer(number)) == "still"
            )
