"""`tidegate tools` and `tidegate call`: over the control socket, and to servers of both eras by URL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.servers.launch import Listening
from tests.unit.cli.conftest import Gateway, run, run_beside

Start = Callable[..., Awaitable[Listening]]
VERSION = "io.modelcontextprotocol/protocolVersion"


def result(message: dict[str, Any], **fields: Any) -> web.Response:
    return web.json_response(
        {"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete", **fields}}
    )


def refusal(message: dict[str, Any], code: int, text: str, status: int = 200) -> web.Response:
    error = {"code": code, "message": text}
    return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error}, status=status)


async def strict(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
    """Answer as a modern server that holds requests to the specification."""
    params = message["params"]
    assert request.headers["MCP-Protocol-Version"] == params["_meta"][VERSION] == "2026-07-28"
    assert request.headers["Mcp-Method"] == message["method"]
    assert params["_meta"]["io.modelcontextprotocol/clientCapabilities"] == {}
    assert {"application/json", "text/event-stream"} <= {
        each.strip() for each in request.headers["Accept"].split(",")
    }
    if message["method"] == "tools/list":
        page = int(params.get("cursor", 0))
        tools = [
            {"name": f"time__t{page}", "description": "Tells\nthe time.\n\nAt length.", "inputSchema": {}}
        ]
        more = {"nextCursor": str(page + 1)} if page < 2 else {}
        return result(message, tools=tools, _meta={"page": page}, **more)
    assert request.headers["Mcp-Name"] == params["name"]
    if params["name"] == "fails":
        return result(message, content=[{"type": "text", "text": "no such vessel"}], isError=True)
    if params["name"] == "denied":
        return refusal(message, -31003, "denied by /mcp rules[0]")
    if params["name"] == "asks":
        return web.json_response(
            {
                "jsonrpc": "2.0",
                "id": message["id"],
                "result": {"resultType": "input_required", "inputRequests": {}},
            }
        )
    return result(
        message, content=[{"type": "text", "text": json.dumps(params["arguments"])}, {"type": "odd\x1b"}]
    )


async def test_tools_follows_every_page(gateway: Gateway) -> None:
    gateway.mcp = strict
    ran = await run_beside("tools", "--state", str(gateway.state))
    assert ran.out == "".join(f"time__t{page}\n    Tells the time.\n" for page in range(3))
    ran = await run_beside("tools", "--state", str(gateway.state), "--json", "--endpoint", "/claims")
    assert [tool["name"] for tool in ran.json()["tools"]] == ["time__t0", "time__t1", "time__t2"]
    assert ran.json()["_meta"] == {"page": 2}
    assert gateway.asked[-1].path == "/claims"


async def test_a_list_that_goes_in_circles_ends(gateway: Gateway) -> None:
    async def circle(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        return result(message, tools=[], nextCursor="again")

    gateway.mcp = circle
    ran = await run_beside("tools", "--state", str(gateway.state))
    assert (ran.status, ran.err) == (1, "tidegate: the list of tools does not end\n")
    assert len(gateway.asked) == 2


async def test_call_shows_text_and_names_what_it_cannot_show(gateway: Gateway) -> None:
    gateway.mcp = strict
    ran = await run_beside("call", "time__now", '{"zone": "UTC"}', "--state", str(gateway.state))
    assert (ran.status, ran.out) == (0, '{"zone": "UTC"}\n[odd\\x1b; --json shows it]\n')


async def test_call_takes_arguments_from_standard_input(gateway: Gateway) -> None:
    gateway.mcp = strict
    ran = await run_beside("call", "t", "-", "--state", str(gateway.state), "--json", given='{"a": 1}')
    assert ran.json()["content"][0]["text"] == '{"a": 1}'


async def test_a_tool_that_fails_makes_the_command_fail(gateway: Gateway) -> None:
    gateway.mcp = strict
    ran = await run_beside("call", "fails", "--state", str(gateway.state))
    assert (ran.status, ran.out, ran.err) == (1, "no such vessel\n", "tidegate: fails says that it failed\n")
    ran = await run_beside("call", "fails", "--state", str(gateway.state), "--json")
    assert (ran.status, ran.json()["isError"], ran.err) == (1, True, "")


async def test_a_refusal_is_one_line_with_its_code(gateway: Gateway) -> None:
    gateway.mcp = strict
    ran = await run_beside("call", "denied", "--state", str(gateway.state))
    assert (ran.status, ran.out, ran.err) == (1, "", "tidegate: denied by /mcp rules[0] (code -31003)\n")


async def test_a_tool_that_asks_for_input_gets_none(gateway: Gateway) -> None:
    gateway.mcp = strict
    ran = await run_beside("call", "asks", "--state", str(gateway.state))
    assert ran.status == 1
    assert "asks for input (input_required), which nobody here can give" in ran.err


async def test_a_name_outside_ascii_is_mirrored_encoded(gateway: Gateway) -> None:
    seen: list[str] = []

    async def look(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        seen.append(request.headers["Mcp-Name"])
        return result(message, content=[])

    gateway.mcp = look
    assert (await run_beside("call", "zeit é", "--state", str(gateway.state))).status == 0
    assert seen == ["=?base64?emVpdCDDqQ==?="]


async def test_logs_are_said_beside_the_result_where_asked_for_and_progress_at_terminals_only(
    gateway: Gateway,
) -> None:
    levels: list[str | None] = []

    async def stream(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        meta = message["params"]["_meta"]
        levels.append(meta.get("io.modelcontextprotocol/logLevel"))
        assert "progressToken" not in meta
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        told: list[dict[str, Any]] = [
            {"method": "notifications/progress", "params": {"progressToken": 1, "progress": 1, "total": 2, "message": "half"}},
            {"method": "notifications/message", "params": {"level": "info", "data": "by the\n\x1b[2Jway"}},
            {"id": message["id"], "result": {"content": [{"type": "text", "text": "done"}]}},
        ]  # fmt: skip
        for each in told:
            await response.write(
                b": alive\n\ndata: " + json.dumps({"jsonrpc": "2.0", **each}).encode() + b"\n\n"
            )
        return response

    gateway.mcp = stream
    ran = await run_beside("call", "t", "--state", str(gateway.state))
    assert (ran.out, ran.err) == ("done\n", "")
    ran = await run_beside("call", "t", "--state", str(gateway.state), "--log", "info")
    assert (ran.out, ran.err) == ("done\n", "  [info] by the \\x1b[2Jway\n")
    assert levels == [None, "info"]


async def test_arguments_that_a_tool_wants_in_headers_are_mirrored(gateway: Gateway) -> None:
    schema = {
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "n": {"type": "integer"}}
    }

    async def wants(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        if message["method"] == "tools/list":
            return result(message, tools=[{"name": "t", "inputSchema": schema}])
        if request.headers.get("Mcp-Param-Region") != "eu":
            return refusal(message, -32020, "a header is missing", 400)
        return result(message, content=[{"type": "text", "text": "right"}])

    gateway.mcp = wants
    ran = await run_beside("call", "t", '{"region": "eu", "n": 1}', "--state", str(gateway.state))
    assert (ran.status, ran.out) == (0, "right\n")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "the answer is not MCP: HTTP status 200"),
        (b"[]", "the answer is not MCP: HTTP status 200"),
        (b'{"jsonrpc":"2.0","id":1}', "the answer has neither a result nor an error"),
        (b'{"jsonrpc":"2.0","id":1,"result":{"tools":{}}}', "the answer to tools/list is no list of tools"),
        (
            b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":3}]}}',
            "the answer to tools/list is no list of tools",
        ),
        (b"[" * 100_000, "the answer is not MCP: HTTP status 200"),
    ],
)
async def test_an_answer_that_is_none_is_one_clear_line(gateway: Gateway, body: bytes, said: str) -> None:
    async def odd(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    gateway.mcp = odd
    ran = await run_beside("tools", "--state", str(gateway.state))
    assert (ran.status, ran.err) == (1, f"tidegate: {said}\n")


async def test_a_server_that_never_answers_is_not_waited_for(gateway: Gateway) -> None:
    over = asyncio.Event()

    async def silent(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        await over.wait()
        return web.Response()

    gateway.mcp = silent
    ran = await run_beside("tools", "--state", str(gateway.state), "--timeout", "0.2")
    over.set()
    assert (ran.status, ran.err) == (1, "tidegate: no answer came within 0.2 s\n")


@pytest.mark.parametrize("answers", ["json", "sse"])
async def test_a_server_of_the_older_era_is_spoken_to_in_a_session(start_server: Start, answers: str) -> None:
    server = await start_server("legacy_http", "--answers", answers)
    ran = await run_beside("tools", "--url", server.url, "--json")
    names = [tool["name"] for tool in ran.json()["tools"]]
    assert "echo" in names
    ran = await run_beside("call", "echo", '{"text": "hello"}', "--url", server.url)
    assert (ran.status, ran.out) == (0, "hello\n")


@pytest.mark.parametrize("options", [(), ("--json",), ("--stateless",)])
async def test_the_official_server_is_spoken_to(start_server: Start, options: tuple[str, ...]) -> None:
    server = await start_server("dual_era", "--http", *options)
    ran = await run_beside("call", "add", '{"a": 1, "b": 2}', "--url", server.url)
    assert (ran.status, ran.out, ran.err) == (0, "3.0\n", "")
    ran = await run_beside("call", "raises", "--url", server.url)
    assert ran.status == 1
    assert "Error executing tool raises" in ran.out


async def test_a_key_is_sent_from_the_environment_or_a_file_and_never_shown(
    gateway: Gateway, tmp_path: Path
) -> None:
    seen: list[str] = []

    async def look(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization", ""))
        return web.Response(status=401)

    served = web.Application()
    served.router.add_route("*", "/mcp", look)
    runner = web.AppRunner(served, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    (tmp_path / "key").write_text("tg_canary_file\n")
    one = await run_beside("tools", "--url", url, env={"TIDEGATE_KEY": "tg_canary_env"})
    two = await run_beside("tools", "--url", url, "--key-file", str(tmp_path / "key"))
    await runner.cleanup()
    assert set(seen) == {"Bearer tg_canary_env", "Bearer tg_canary_file"}
    for ran in (one, two):
        assert ran.err == "tidegate: the answer is not MCP: HTTP status 401: a key is needed (--key-file, or the variable TIDEGATE_KEY)\n"  # fmt: skip
        assert "canary" not in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("call", "t", "{"), "the arguments are not JSON: "),
        (("call", "t", "[1]"), "the arguments should be a JSON object"),
        (("call", "t", "[" * 100_000), "the arguments are nested too deep"),
        (("tools", "--url", "ftp://x"), "--url: should be a URL that begins with http:// or https://"),
        (("tools", "--url", "http://[::1"), "--url: is not a URL"),
        (("tools", "--url", "http://a:99999/"), "--url: is not a URL"),
        (("tools", "--url", "http://u:canary@h"), "--url: should hold no user or password"),
        (("tools", "--endpoint", "mcp"), "--endpoint: should be a path such as /mcp"),
        (
            ("tools", "--url", "http://h", "--key-file", "/nonexistent"),
            "/nonexistent: cannot be read: No such file",
        ),
        (("tools", "--url", "http://h", "--key-file", "/dev/null"), "/dev/null: holds no key"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: tuple[str, ...], said: str) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(said)
    assert ran.err.count("\n") == 1


def test_a_url_where_nobody_listens_is_one_clear_line(free_port: int) -> None:
    ran = run("tools", "--url", f"http://127.0.0.1:{free_port}/mcp")
    assert (ran.status, ran.err) == (
        1,
        f"tidegate: http://127.0.0.1:{free_port}/mcp cannot be reached: Connection refused\n",
    )


def test_a_key_that_others_could_read_on_the_way_is_told_of(free_port: int) -> None:
    # 0.0.0.0 is no loopback address, yet nothing leaves this machine.
    place = f"http://0.0.0.0:{free_port}/mcp"
    ran = run("tools", "--url", f"{place}?q=canary", env={"TIDEGATE_KEY": "tg_canary"})
    assert ran.err.splitlines() == [
        f"tidegate: the key goes to {place} over plain HTTP, which others can read",
        f"tidegate: {place} cannot be reached: Connection refused",
    ]


async def test_what_is_for_this_machine_goes_through_no_proxy(start_server: Start, free_port: int) -> None:
    server = await start_server("legacy_http")
    proxy = {"HTTP_PROXY": f"http://127.0.0.1:{free_port}", "http_proxy": f"http://127.0.0.1:{free_port}"}
    assert (await run_beside("tools", "--url", server.url, env=proxy)).status == 0
