"""`tidegate prompts`, `prompt`, `resources`, `read`, and the rounds of input, against a control socket that is told what to say."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.unit.cli.conftest import Gateway, Ran, run, run_beside

Results = Callable[[dict[str, Any]], dict[str, Any]]
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
NAMED = {"prompts/get": "name", "resources/read": "uri", "tools/call": "name"}


def says(gateway: Gateway, results: Results) -> list[dict[str, Any]]:
    """Have the gateway answer what `results` gives for a message; give what it was asked."""
    asked: list[dict[str, Any]] = []

    async def answer(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        asked.append(message)
        assert request.headers["Mcp-Method"] == message["method"]
        if message["method"] in NAMED:
            assert request.headers["Mcp-Name"] == message["params"][NAMED[message["method"]]]
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], **results(message)})

    gateway.mcp = answer
    return asked


def result(**fields: Any) -> dict[str, Any]:
    return {"result": {"resultType": "complete", **fields}}


@pytest.fixture
def on(gateway: Gateway) -> Callable[..., Awaitable[Ran]]:
    async def command(*arguments: str) -> Ran:
        return await run_beside(*arguments, "--state", str(gateway.state))

    return command


On = Callable[..., Awaitable[Ran]]


async def test_prompts_are_listed_with_their_arguments(gateway: Gateway, on: On) -> None:
    listed = [
        {"name": "brief", "description": "Briefs\na crew.", "arguments": [{"name": "ship", "required": True}, {"name": "port"}, 3]},
        {"name": "b\x1b[2J", "arguments": 3},
    ]  # fmt: skip
    says(gateway, lambda _: result(prompts=listed))
    assert (await on("prompts")).out == "brief ship=… [port=…]\n    Briefs a crew.\nb\\x1b[2J\n"
    assert (await on("prompts", "--json")).json()["prompts"] == listed


async def test_a_prompt_is_filled_in_and_its_messages_shown(gateway: Gateway, on: On) -> None:
    messages = [
        {"role": "user", "content": {"type": "text", "text": "Ahoy \x1b]0;x\x07"}},
        {"role": "assistant", "content": {"type": "image", "data": "AAAA", "mimeType": "image/png"}},
        "none",
    ]
    asked = says(gateway, lambda _: result(messages=messages))
    ran = await on("prompt", "brief", "ship=Ada=1", "port=")
    assert (ran.status, ran.out) == (
        0,
        "user:\nAhoy \\x1b]0;x\\x07\nassistant:\n[image, image/png, 3 bytes; --json shows it]\n",
    )
    assert asked[0]["params"]["arguments"] == {"ship": "Ada=1", "port": ""}
    messages[1:] = []
    assert (await on("prompt", "brief")).out == "Ahoy \\x1b]0;x\\x07\n"
    assert (await on("prompt", "brief", "--json")).json()["messages"] == messages


async def test_resources_are_listed_before_templates(gateway: Gateway, on: On) -> None:
    def answer(message: dict[str, Any]) -> dict[str, Any]:
        if message["method"] == "resources/list":
            return result(
                resources=[{"uri": "note://a", "name": "A", "mimeType": "text/plain", "description": "of a"}]
            )
        return result(resourceTemplates=[{"uriTemplate": "note://{id}", "name": "all"}])

    says(gateway, answer)
    assert (await on("resources")).out == "note://a\n    A (text/plain): of a\nnote://{id}\n    all\n"
    assert [*(await on("resources", "--json")).json()] == ["resources", "resourceTemplates", "_meta"]


async def test_a_server_that_knows_no_prompts_or_resources_has_none(gateway: Gateway, on: On) -> None:
    says(gateway, lambda _: {"error": {"code": -32601, "message": "method not found"}})
    assert (await on("prompts")).out == "no prompts\n"
    assert (await on("resources")).out == "no resources\n"
    assert (await on("tools")).status == 1


async def test_text_is_read_to_standard_output_and_is_harmless_there(
    gateway: Gateway, on: On, tmp_path: Path
) -> None:
    contents = [{"uri": "note://a", "text": "one\r\n\x1b[2J\u00e9"}]
    asked = says(gateway, lambda _: result(contents=contents))
    ran = await on("read", "note://a")
    assert (ran.status, ran.out) == (0, "one\\r\n\\x1b[2J\u00e9\n")
    assert asked[0]["params"]["uri"] == "note://a"
    ran = await on("read", "note://a", "--output", str(tmp_path / "a"))
    assert (ran.out, ran.err) == ("", f"wrote {tmp_path / 'a'} (11 bytes)\n")
    assert (tmp_path / "a").read_bytes() == "one\r\n\x1b[2J\u00e9".encode()


async def test_bytes_are_written_as_they_are(gateway: Gateway, on: On, tmp_path: Path) -> None:
    data = bytes(range(128))
    part = {"uri": "note://b", "mimeType": "x/y", "blob": base64.b64encode(data).decode()}
    says(gateway, lambda _: result(contents=[part]))
    assert (await on("read", "note://b")).out.encode() == data
    assert (await on("read", "note://b", "-o", "-")).out.encode() == data
    assert (await on("read", "note://b", "-o", str(tmp_path / "b"))).status == 0
    assert (tmp_path / "b").read_bytes() == data
    ran = await on("read", "note://b", "-o", str(tmp_path / "none" / "b"))
    assert (ran.status, ran.err) == (
        1,
        f"tidegate: {tmp_path / 'none' / 'b'}: cannot be written: No such file or directory\n",
    )


async def test_what_cannot_be_written_is_one_clear_line(gateway: Gateway, on: On, tmp_path: Path) -> None:
    contents: list[Any] = [{"uri": "a", "text": "one"}, {"uri": "b", "mimeType": "x/y", "blob": "AAAA"}]
    says(gateway, lambda _: result(contents=contents))
    assert (await on("read", "note://d")).out == "one\n[b, x/y, 3 bytes; --json shows it]\n"
    ran = await on("read", "note://d", "-o", str(tmp_path / "d"))
    assert (ran.status, ran.err) == (
        1,
        "tidegate: the resource has 2 parts, not one to write; --json shows them\n",
    )
    contents[:] = [{"uri": "b", "blob": "A*"}]
    assert (await on("read", "note://d")).err == "tidegate: the resource's bytes are not base64\n"
    contents[:] = ["none"]
    assert (await on("read", "note://d")).err == "tidegate: the answer to resources/read has no contents\n"


def asks(wanted: int, *, state: bool = True) -> Results:
    """Give results that ask for a name as often as wanted, and then tell what came."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    question = {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": schema}}
    count = 0

    def answer(message: dict[str, Any]) -> dict[str, Any]:
        nonlocal count
        count += 1
        if count > wanted:
            told = json.dumps(message["params"].get("inputResponses"))
            return result(content=[{"type": "text", "text": told}])
        more = {"requestState": f"state {count}"} if state else {}
        return {"result": {"resultType": "input_required", "inputRequests": {"it": question}, **more}}

    return answer


async def test_rounds_go_on_until_the_result_and_carry_the_state_of_the_last(
    gateway: Gateway, on: On
) -> None:
    asked = says(gateway, asks(2))
    ran = await on("call", "t", '{"a": 1}', "--answer", "name=Ada")
    assert json.loads(ran.out) == {"it": {"action": "accept", "content": {"name": "Ada"}}}
    assert [each["params"].get("requestState") for each in asked] == [None, "state 1", "state 2"]
    assert all(each["params"]["arguments"] == {"a": 1} for each in asked)
    assert len({each["id"] for each in asked}) == 3
    assert asked[0]["params"]["_meta"][CAPABILITIES] == {"elicitation": {"form": {}}}


async def test_a_state_that_was_not_given_is_not_sent(gateway: Gateway, on: On) -> None:
    asked = says(gateway, asks(1, state=False))
    assert (await on("call", "t", "--answer", "name=Ada")).status == 0
    assert "requestState" not in asked[1]["params"]


async def test_a_server_that_only_asks_for_patience_is_asked_again(gateway: Gateway, on: On) -> None:
    def answer(message: dict[str, Any]) -> dict[str, Any]:
        if "requestState" in message["params"]:
            return result(content=[{"type": "text", "text": "done"}])
        return {"result": {"resultType": "input_required", "requestState": "later"}}

    asked = says(gateway, answer)
    assert (await on("call", "t", "--answer", "name=Ada")).out == "done\n"
    assert "inputResponses" not in asked[1]["params"]


async def test_a_server_that_never_stops_asking_is_left(gateway: Gateway, on: On) -> None:
    asked = says(gateway, asks(1000))
    ran = await on("call", "t", "--answer", "name=Ada")
    assert (ran.status, ran.err.splitlines()[0]) == (
        1,
        "tidegate: the server asked for input 32 times, and that is enough",
    )
    assert len(asked) == 32


async def test_what_has_no_answer_fails_and_the_server_is_told(gateway: Gateway, on: On) -> None:
    asked = says(gateway, asks(1))
    ran = await on("call", "t", "--answer", "nom=Ada")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "tidegate: t asks for 'name', which no --answer gives\n"
    assert asked[1]["params"]["inputResponses"] == {"it": {"action": "cancel"}}
    assert len(asked) == 2


async def test_an_answer_that_nothing_asked_for_is_told_of(gateway: Gateway, on: On) -> None:
    says(gateway, asks(0))
    ran = await on("call", "t", "--answer", "name=Ada")
    assert (ran.status, ran.err) == (0, "tidegate: nothing asked for the --answer 'name'\n")


async def test_a_refusal_for_want_of_a_user_says_how_to_be_one(gateway: Gateway, on: On) -> None:
    says(gateway, lambda _: {"error": {"code": -32021, "message": "not\ndeclared"}})
    ran = await on("call", "t")
    assert (ran.status, ran.err) == (
        1,
        "tidegate: not declared (code -32021); it asks for what only a user at a terminal, --answer or --root can give\n",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("prompt", "p", "city"), "an argument: should be key=value"),
        (("prompt", "p", "=x"), "an argument: should be key=value"),
        (("prompt", "p", "a=1", "a=2"), "an argument: should be given once"),
        (("call", "t", "--answer", "x"), "--answer: should be key=value"),
        (("call", "t", *(("--answer", "x=1") * 501)), "--answer: more than 500 of them"),
        (("read", "note://a", "--root", "/nonexistent"), "--root: /nonexistent: there is no such directory"),
        (("read", "note://a", "--root", "/dev/null"), "--root: /dev/null: is no directory"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: tuple[str, ...], said: str) -> None:
    ran = run(*arguments, "--url", "http://h/mcp")
    assert (ran.status, ran.out, ran.err) == (2, "", said + "\n")
