"""Quotas on the path of a call: what counts, what a refusal is in both eras, and that places are given back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.setting import OPEN, GatewaySetting, Told
from tests.unit.gateway.test_questions_of_servers import modern, opened, retry
from tidegate.domain.quota import Per, Quota
from tidegate.domain.server import Sharing


def each(calls: int, **more: Any) -> Quota:
    return Quota("each", (Per.PRINCIPAL,), calls, "min", calls, **more)


def at_once(most: int) -> Quota:
    return Quota("few", (Per.PRINCIPAL,), at_once=most)


def under_way(made: GatewaySetting) -> float:
    return sum(used for _, told in made.quotas.told(9) for _, used, _ in told)


def check_refused(told: Told, name: str, after: int) -> None:
    assert told.answer.status == 200
    error = told.error
    assert error["code"] == -31015
    assert (error["data"]["reason"], error["data"]["limit"]) == ("limit_exceeded", name)
    assert after - 10 < error["data"]["retryAfter"] <= after


async def test_both_eras_count_together_and_get_the_same_refusal(gateway: OPEN) -> None:
    made = await gateway()
    made.quotas.change([each(2)])
    client = await made.client()
    assert (await client.tool("one__echo", text="a")).text == "a"
    assert (await made.tool("one__echo", text="b")).text == "b"
    check_refused(await client.tool("one__echo", 2, text="c"), "each", 30)
    check_refused(await made.tool("one__echo", text="d"), "each", 30)
    assert (await made.tool("one__echo", "bob", text="e")).text == "e"
    assert len(made.fleet.servers["one"].calls) == 3
    assert made.refusals() == ["limit_exceeded"] * 2
    assert made.records("refused")[0]["data"]["target"] == {"server": "one", "kind": "tool", "name": "echo"}
    await made.time.advance(30)
    assert (await made.tool("one__echo", text="f")).text == "f"


async def test_every_kind_of_call_counts_and_lists_do_not(gateway: OPEN) -> None:
    made, _ = await opened(gateway, modern=False)
    client = await made.client(capabilities={})
    calls = {
        "tools/call": {"name": "one__echo", "arguments": {}},
        "prompts/get": {"name": "one__p"},
        "completion/complete": {
            "ref": {"type": "ref/prompt", "name": "one__p"}, "argument": {"name": "a", "value": "b"}
        },
    }  # fmt: skip
    for method, params in calls.items():
        made.quotas.change([])
        made.quotas.change([each(1)])
        await client.ask(method, **params)
        assert round(under_way(made)) == 1, method
        check_refused(await client.ask(method, **params), "each", 60)
    for method in ("tools/list", "prompts/list", "resources/list", "ping"):
        assert (await client.ask(method)).result is not None


async def test_what_is_unknown_or_hidden_does_not_count(gateway: OPEN) -> None:
    made = await gateway()
    made.quotas.change([each(1)])
    for _ in range(3):
        assert (await made.tool("one__nothing")).error["data"]["reason"] == "invalid_params"
    assert (await made.tool("one__echo", text="a")).text == "a"


@pytest.mark.parametrize("tool", ["echo", "fails", "waits"])
async def test_a_call_that_is_over_has_given_its_place_back_whatever_came_of_it(
    gateway: OPEN, tool: str
) -> None:
    made = await gateway(spec("one", sharing=Sharing.SHARED))
    made.quotas.change([at_once(1)])
    call = asyncio.create_task(made.tool(f"one__{tool}"))
    if tool == "waits":
        await made.time.until(lambda: made.fleet.servers["one"].calls)
        check_refused(await made.tool("one__echo", text="x"), "few", 1)
        assert (await made.tool("one__echo", "bob", text="y")).text == "y"
        call.cancel()
    await asyncio.wait([call])
    assert under_way(made) == 0


async def test_a_call_that_is_refused_later_gives_its_place_back(gateway: OPEN) -> None:
    made = await gateway(spec("one", sharing=Sharing.SESSION))
    await made.tool("one__echo")
    made.quotas.change([at_once(1)])
    made.fleet.runtime.hold = asyncio.Event()
    call = asyncio.create_task((await made.client()).tool("one__echo"))
    await made.time.until(lambda: made.fleet.runtime.starting)
    assert under_way(made) == 1
    made.pipeline.draining = True
    made.fleet.runtime.hold.set()
    assert (await call).error["data"]["reason"] == "draining"
    assert under_way(made) == 0


async def test_a_parked_call_keeps_its_place_and_its_retry_is_no_further_call(gateway: OPEN) -> None:
    made, _ = await opened(gateway, modern=False)
    made.quotas.change([at_once(1), each(1)])
    told = await modern(made, "form")
    assert told.result["resultType"] == "input_required"
    assert len(made.built.parked) == 1
    assert round(under_way(made)) == 2
    refused = await modern(made, "echo")
    assert refused.error["data"]["reason"] == "limit_exceeded"
    done = await modern(made, "form", **retry(told))
    assert done.result["resultType"] == "complete"
    assert round(under_way(made)) == 1  # the rate's; nothing is under way


async def test_a_parked_call_that_ends_by_itself_gives_its_place_back(gateway: OPEN) -> None:
    made, _ = await opened(gateway, modern=False)
    made.quotas.change([at_once(1)])
    await modern(made, "form")
    await made.built.parked.close()
    assert under_way(made) == 0
    assert made.limits.in_flight == 0


async def test_a_changed_quota_holds_at_once(gateway: OPEN, tmp_path: Path) -> None:
    made = await gateway()
    made.quotas.change([each(1)])
    await made.tool("one__echo")
    check_refused(await made.tool("one__echo"), "each", 60)
    made.quotas.change([each(2)])
    await made.tool("one__echo")
    made.quotas.change([])
    for _ in range(5):
        assert "result" in (await made.tool("one__echo", text="a")).message


async def test_a_modern_servers_own_round_counts_since_nobody_knows_whether_it_was_used(
    gateway: OPEN,
) -> None:
    made, _ = await opened(gateway, modern=True)
    made.quotas.change([each(2)])
    told = await modern(made, "form")
    again = retry(told)
    assert (await modern(made, "form", **again)).result["resultType"] == "complete"
    check_refused(await modern(made, "form", **again), "each", 30)
