"""Arguments, answers, states and handles stand in no record, log or metric, and in no error that others cause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.asking import AskingServer
from tests.unit.gateway.setting import OPEN, GatewaySetting, Told
from tests.unit.gateway.test_any_params import Everything
from tests.unit.gateway.test_questions_of_servers import ANSWERS, EVERYTHING, modern, person, retry

Json = dict[str, Any]
MARK = "hunter2-hunter2"


def written(place: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Give all that was recorded and logged."""
    said = capsys.readouterr()
    return (
        said.out
        + said.err
        + "".join(each.read_bytes().decode("latin-1") for each in place.iterdir() if each.is_file())
    )


def check(made: GatewaySetting, capsys: pytest.CaptureFixture[str], *secrets: str) -> None:
    """See that none of it was told to anybody."""
    found = written(made.place, capsys) + repr(
        {**made.metrics.calls, **made.metrics.questions, **made.metrics.refusals}
    )
    assert made.records("request"), "nothing was recorded at all"
    assert [each for each in (MARK, *secrets) if each in found] == []


@pytest.mark.parametrize("era", [False, True], ids=["legacy server", "modern server"])
async def test_what_goes_through_a_call_is_written_nowhere(
    gateway: OPEN, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, era: bool
) -> None:
    monkeypatch.setitem(ANSWERS, "elicitation/create", {"action": "accept", "content": {"name": MARK}})
    monkeypatch.setitem(ANSWERS, "roots/list", {"roots": [{"uri": f"file:///{MARK}"}]})
    made = await gateway(spec("one"), servers={"one": AskingServer(modern=era)}, wait=["one__form"])
    ann = await person(made)
    token = {"_meta": {"progressToken": MARK}}
    for tool in ("echo", "two", "logs", "visit"):
        await ann.tool(f"one__{tool}", secret=MARK)
        await ann.client.ask("tools/call", name=f"one__{tool}", arguments={"secret": MARK}, **token)
    first = await modern(made, "two", arguments={"secret": MARK})
    brought = retry(first)
    assert MARK in (await modern(made, "two", arguments={"secret": MARK}, **brought)).text
    again = await modern(made, "two", arguments={"secret": MARK}, **brought)  # it was used, or is good again
    check(made, capsys, brought["requestState"], ann.client.session)
    assert MARK not in json.dumps(again.message.get("error", {}))


WRONG: dict[str, Json] = {
    "tools/call": {
        "name": "one__echo",
        "arguments": MARK,
        "task": MARK,
        "_meta": {"progressToken": {MARK: MARK}},
    },
    "prompts/get": {"name": "one__greet", "arguments": {MARK: [MARK]}},
    "completion/complete": {"ref": {"type": MARK}, "argument": MARK},
    "logging/setLevel": {"level": MARK},
    "tools/list": {"cursor": MARK},
    "tasks/list": {"cursor": MARK},
    "tasks/get": {"taskId": MARK},
    "tasks/result": {"taskId": MARK},
    "subscriptions/listen": {"notifications": {MARK: MARK, "taskIds": [MARK]}},
    "initialize": {"capabilities": MARK, "protocolVersion": MARK},
}


@pytest.mark.parametrize("method", WRONG)
async def test_what_is_refused_is_not_repeated(
    gateway: OPEN, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    made = await gateway(spec("one"), servers={"one": Everything(modern=True)}, wait=["one__echo"])
    ann = await made.client(capabilities=EVERYTHING)
    told: list[Told] = [await ann.ask(method, **WRONG[method])]
    if method == "tools/call":
        params = {
            "name": "one__form",
            "arguments": {},
            "requestState": MARK,
            "inputResponses": {MARK: {MARK: MARK}},
        }
        told.append(await made.modern(method, **params))
    for each in told:
        assert MARK not in json.dumps(each.message.get("error", {}))
    check(made, capsys)
