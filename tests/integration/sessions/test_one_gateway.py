"""Sessions, streams and calls of a gateway that is killed and comes again, and of clients that lose their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.integration.gateway.gateway import Gateway, Wire, sdk, server, until
from tests.integration.sessions.client import Relay, legacy

pytestmark = pytest.mark.timeout(120)
Make = Callable[..., Gateway]


def port(gateway: Gateway) -> int:
    return int(gateway.base.rpartition(":")[2])


async def test_sessions_go_on_through_a_crash_under_load_and_open_calls_are_told(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio", stateless=True)})
    made.until_servers(old="ready")
    wires = [await Wire(made.url()).open() for _ in range(8)]
    texts = await asyncio.gather(*(wire.text("old__echo", {"text": "a"}) for wire in wires))
    assert set(texts) == {"a"}
    async with legacy(made.url()) as client:
        listening = await client.listen()
        await listening.until(lambda heard: heard.ids)
        slow = await client.call("mine", "old__slow", seconds=30, steps=300)
        await slow.method("notifications/progress")
        load = [asyncio.create_task(wire.call("old__slow", {"seconds": 20})) for wire in wires]
        await until(lambda: made.status()["in_flight"] == 9, "all calls to be under way")
        made.kill()
        await asyncio.wait([*load])
        await slow.until(lambda heard: heard.over)
        made.start(port=port(made)).until_servers(old="ready")
        texts = await asyncio.gather(*(wire.text("old__echo", {"text": "b"}) for wire in wires))
        assert set(texts) == {"b"}
        told = await (await client.listen(slow.ids[-1])).answer("mine")
        assert told["error"]["code"] == -31002
        assert "outcome is unknown" in told["error"]["message"]
        again = await client.listen(listening.ids[-1])
        assert (await again.method("notifications/tools/list_changed"))["method"]
        assert await client.end() == 200
        await again.until(lambda heard: heard.over)
    made.check_end()


async def test_a_client_that_loses_its_connection_gets_the_answer_all_the_same(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")}).until_servers(old="ready")
    async with legacy(made.url()) as client, legacy(made.url()) as other:
        slow = await client.call(1, "old__slow", seconds=1, steps=10)
        await slow.method("notifications/progress")
        await slow.lose()
        assert (await other.listen(slow.ids[-1])).status == 400
        again = await client.listen(slow.ids[-1])
        answer = await again.answer(1)
        assert answer["result"]["content"][0]["text"] == "slept"
        await again.until(lambda heard: heard.over)
        seen = [each["params"]["progress"] for each in slow.messages + again.messages if "method" in each]
        assert seen == sorted(set(seen))
        assert len(seen) >= 10
    assert [each["outcome"] for each in made.records() if each["kind"] == "call.outcome"] == ["ok"]
    made.check_end()


async def test_the_official_client_comes_back_for_its_answer(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")}).until_servers(old="ready")
    heard = list[float]()

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append(done)

    async with Relay(port(made)).open() as relay, sdk(relay.url, "legacy") as client:
        calling = asyncio.create_task(
            client.call_tool("old__slow", {"seconds": 2, "steps": 20}, progress_callback=progress)
        )
        await until(lambda: heard, "progress")
        relay.lose()
        result = await calling
        assert result.content[0].text == "slept"
        assert heard == sorted(set(heard))
    made.check_end()
