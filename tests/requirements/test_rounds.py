"""Rounds of input, and log messages, from both ends: what the gateway owes servers that ask and clients that answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.asking import FORM, AskingServer
from tests.unit.gateway.offering import Offering
from tests.unit.gateway.setting import OPEN, GatewaySetting
from tests.unit.gateway.test_questions_of_servers import EVERYTHING, expected, opened, person, retry
from tests.unit.gateway.test_questions_of_servers import modern as ask_modern
from tidegate.protocol import revisions

Json = dict[str, Any]


def calls(server: AskingServer) -> list[Json]:
    """Give the calls that a server heard."""
    return [each for each in server.heard if each.get("method") == "tools/call"]


async def offering(gateway: OPEN, server: Offering) -> GatewaySetting:
    """Open a gateway before a server with a tool called `t`."""
    return await gateway(spec("one"), servers={"one": server}, wait=["one__t"])


async def test_a_servers_state_is_given_back_exactly_with_every_answer_in_a_request_of_its_own(
    gateway: OPEN,
) -> None:
    made, server = await opened(gateway, modern=True)
    ann = await person(made)
    assert (await ann.tool("one__two")).text == expected("form", "roots")
    first, second = calls(server)
    assert first["id"] != second["id"]
    assert second["params"]["requestState"] == "1"
    assert set(second["params"]["inputResponses"]) == {"form", "roots"}
    assert "requestState" not in first["params"]
    assert "inputResponses" not in first["params"]
    assert first["params"]["arguments"] == second["params"]["arguments"]


async def test_what_was_answered_for_one_call_goes_with_no_other(gateway: OPEN) -> None:
    made, server = await opened(gateway, modern=True)
    ann = await person(made)
    await ann.tool("one__form", 1)
    await ann.tool("one__echo", 2, a=1)
    assert {"requestState", "inputResponses"}.isdisjoint(calls(server)[-1]["params"])


async def test_a_retry_of_a_modern_client_reaches_its_server_with_that_servers_state(gateway: OPEN) -> None:
    made, server = await opened(gateway, modern=True)
    first = await ask_modern(made, "form")
    await ask_modern(made, "form", **retry(first))
    before, after = calls(server)
    assert before["id"] != after["id"]
    assert after["params"]["requestState"] == "1"
    assert set(after["params"]["inputResponses"]) == {"form"}


class Stateless(AskingServer):
    """Asks without a state."""

    async def _call_modern(self, pipes: Any, params: Json, waiting: Any) -> Json:
        reply = await super()._call_modern(pipes, params, waiting)
        reply["result"].pop("requestState", None)
        return reply


async def test_where_a_server_gave_no_state_it_gets_none(gateway: OPEN) -> None:
    server = Stateless(modern=True)
    made = await gateway(spec("one"), servers={"one": server}, wait=["one__form"])
    ann = await person(made)
    assert (await ann.tool("one__form")).text == expected("form")
    told = await ask_modern(made, "form")
    assert (await ask_modern(made, "form", **retry(told))).text == expected("form")
    assert all("requestState" not in each["params"] for each in calls(server))


async def test_a_modern_client_is_sent_no_request_whatever_its_server_asks(gateway: OPEN) -> None:
    made, _ = await opened(gateway, modern=False)
    for kind in ("form", "url", "sample", "roots"):
        told = await ask_modern(made, kind)
        assert told.result["resultType"] == "input_required"
        again = await ask_modern(made, kind, **retry(told))
        assert (told.notified, again.notified) == ([], [])


class Fickle(AskingServer):
    """Gives its question up, and answers the call."""

    async def _call_legacy(self, pipes: Any, params: Json, waiting: Any) -> Json:
        for message in (
            {"id": "q", "method": "elicitation/create", "params": FORM},
            {"method": "notifications/cancelled", "params": {"requestId": "q"}},
        ):
            self._say(pipes, {"jsonrpc": "2.0", **message})
        return {"result": {"content": []}}


async def test_a_modern_client_is_told_of_no_cancellation_of_what_it_never_got(gateway: OPEN) -> None:
    made = await gateway(spec("one"), servers={"one": Fickle()}, wait=["one__form"])
    told = await ask_modern(made, "form")
    assert told.result["resultType"] in ("complete", "input_required")
    assert told.notified == []


@pytest.mark.parametrize("wanted", [None, "info", "error"])
async def test_a_modern_client_gets_log_messages_only_of_a_call_that_asked_for_them(
    gateway: OPEN, wanted: str | None
) -> None:
    made, _ = await opened(gateway, modern=False)
    meta: Json = {revisions.META_CAPABILITIES: EVERYTHING}
    if wanted is not None:
        meta[revisions.META_LOG_LEVEL] = wanted
    told = await made.modern("tools/call", name="one__logs", arguments={}, meta=meta)
    assert told.result["resultType"] == "complete"
    methods = [method for method, _ in told.notified]
    assert methods == (["notifications/message"] if wanted == "info" else [])


@pytest.mark.parametrize("kind", ["surprise", "task"])
async def test_a_result_of_a_kind_that_the_client_does_not_know_is_an_error(gateway: OPEN, kind: str) -> None:
    server = Offering(modern=True, tools=["t"])
    server.raw["tools/call"] = json.dumps({"resultType": kind, "content": [], "taskId": "x"}).encode()
    made = await offering(gateway, server)
    assert "error" in (await made.tool("one__t")).message


async def test_no_other_request_is_answered_with_questions(gateway: OPEN) -> None:
    capabilities: Json = {"tools": {}, "prompts": {}, "completions": {}}
    server = Offering(capabilities, modern=True, tools=["t"], prompts=["p"])
    asking: Json = {"resultType": "input_required", "inputRequests": {"a": {"method": "roots/list"}}}
    server.raw["completion/complete"] = json.dumps(asking).encode()
    made = await offering(gateway, server)
    told = await made.modern(
        "completion/complete",
        meta={revisions.META_CAPABILITIES: EVERYTHING},
        ref={"type": "ref/prompt", "name": "one__p"},
        argument={"name": "a", "value": ""},
    )
    assert server.count("completion/complete") == 1
    assert "error" in told.message
