"""The clients that the suite runs: each scenario is done through a real gateway before the suite's server.

The suite's command is `relay.py`, which hands over what it was told: the server's URL, the scenario, the revision
and values to use. What a scenario is about is done by clients of both eras where both can. It has failed where a
client got what it should not, or the gateway did not end in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socketserver
import sys
import tempfile
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp import Client

from tests.conformance.gateways import gateway
from tests.integration.gateway.gateway import MODERN, Wire, sdk

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What the suite tells a client."""

    scenario: str
    revision: str
    upstream: str
    """The URL of the suite's server."""
    context: Json

    def modes(self) -> tuple[str, str]:
        """Give the eras of clients, that of the suite's revision first."""
        return (MODERN, "legacy") if self.revision == MODERN else ("legacy", MODERN)


Act = Callable[[str, Told], Awaitable[None]]
"""Does what a scenario is about at the URL of an endpoint."""


async def _answer(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    """Accept with the defaults of the form (SEP-1034), and true for what has none."""
    properties: Json = getattr(params, "requested_schema", {}).get("properties", {})
    content = {name: each.get("default", True) for name, each in properties.items()}
    return types.ElicitResult(action="accept", content=content)


async def _sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    content = types.TextContent(type="text", text="an answer")
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def _roots(context: Any) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[])


def client(url: str, mode: str) -> Any:
    """Connect the official client, with everything that a client can offer."""
    return sdk(url, mode, elicitation_callback=_answer, sampling_callback=_sample, list_roots_callback=_roots)


def in_both_eras(act: Callable[[Client, Told], Awaitable[None]]) -> Act:
    """Make a client of each era do the same, one after the other."""

    async def both(url: str, told: Told) -> None:
        for mode in told.modes():
            async with client(url, mode) as connected:
                await act(connected, told)

    return both


async def _listed(connected: Client) -> dict[str, types.Tool]:
    return {tool.name: tool for tool in (await connected.list_tools()).tools}


async def initialize(connected: Client, told: Told) -> None:
    """Connect and list what the server, which declares nothing, does not have."""
    assert not await _listed(connected)


async def add_numbers(connected: Client, told: Told) -> None:
    """List and call."""
    assert "add_numbers" in await _listed(connected)
    result = await connected.call_tool("add_numbers", {"a": 5, "b": 3})
    assert "8" in result.content[0].text, result


async def elicit_defaults(connected: Client, told: Told) -> None:
    """Call what asks for a form, which the client answers with its defaults."""
    await _listed(connected)
    result = await connected.call_tool("test_client_elicitation_defaults", {})
    assert "Elicitation completed" in result.content[0].text, result


async def reconnect(url: str, told: Told) -> None:
    """Call what closes its stream before it has answered."""
    async with client(url, "legacy") as connected:
        await _listed(connected)
        result = await connected.call_tool("test_reconnection", {})
        assert "successfully" in result.content[0].text, result


async def answer_in_rounds(connected: Client, told: Told) -> None:
    """Call what asks in rounds, and something else between."""
    await _listed(connected)
    for name, expected in (
        ("test_mrtr_echo_state", "echo-state-ok"),
        ("test_mrtr_unrelated", "unrelated-ok"),
        ("test_mrtr_no_state", "no-state-ok"),
        ("test_mrtr_unrelated", "unrelated-ok"),
        ("test_mrtr_no_result_type", "no-result-type-test-ok"),
    ):
        result = await connected.call_tool(name, {})
        assert result.content[0].text == expected, result


async def send_everything(connected: Client, told: Told) -> None:
    """Send a request of every kind that has a name in its header."""
    for name in await _listed(connected):
        await connected.call_tool(name, {})
    for resource in (await connected.list_resources()).resources:
        await connected.read_resource(resource.uri)
    for prompt in (await connected.list_prompts()).prompts:
        await connected.get_prompt(prompt.name)


async def call_as_told(connected: Client, told: Told) -> None:
    """Call the tools with the arguments that the suite gives."""
    await _listed(connected)
    for call in told.context["toolCalls"]:
        result = await connected.call_tool(call["name"], call["arguments"])
        assert not result.is_error, result


INVALID = (
    "invalid_empty_header", "invalid_object_header", "invalid_array_header", "invalid_null_header",
    "invalid_number_header",
    "invalid_duplicate_same_case", "invalid_duplicate_diff_case", "invalid_space_in_name",
    "invalid_colon_in_name", "invalid_non_ascii_name", "invalid_control_char_name",
)  # fmt: skip


async def call_the_invalid(url: str, told: Told) -> None:
    """Look past what the official client leaves out: the gateway must not list them, nor pass a call of one on."""
    for wire in (Wire(url, modern=True), await Wire(url).open()):
        tools = [tool["name"] for tool in (await wire.tools())["tools"]]
        assert tools == ["valid_tool"], tools
        wire.more["Mcp-Param-Region"] = "here"
        assert "result" in await wire.call("valid_tool", {"region": "here"})
        del wire.more["Mcp-Param-Region"]
        for name in INVALID:
            refused = await wire.call(name, {})
            assert "error" in refused, refused


async def only_list(connected: Client, told: Told) -> None:
    """List a tool whose schema names a document elsewhere."""
    assert "lookup_user" in await _listed(connected)


async def echo_schema(connected: Client, told: Told) -> None:
    """Send a tool's schema back as it came."""
    tool = (await _listed(connected))["json_schema_2020_12_tool"]
    await connected.call_tool("json_schema_echo", {"schema": tool.input_schema})


async def metadata(connected: Client, told: Told) -> None:
    """Ask the server for something, which declares nothing and has nothing."""
    assert not await _listed(connected)


ACTS: dict[str, Act] = {
    "initialize": in_both_eras(initialize),
    "tools_call": in_both_eras(add_numbers),
    "elicitation-sep1034-client-defaults": in_both_eras(elicit_defaults),
    "sse-retry": reconnect,
    "request-metadata": in_both_eras(metadata),
    "sep-2322-client-request-state": in_both_eras(answer_in_rounds),
    "http-standard-headers": in_both_eras(send_everything),
    "http-custom-headers": in_both_eras(call_as_told),
    "http-invalid-tool-headers": call_the_invalid,
    "json-schema-ref-no-deref": in_both_eras(only_list),
    "json-schema-2020-12-preservation": in_both_eras(echo_schema),
}


async def drive(told: Told) -> None:
    """Do through a gateway what the scenario is about."""
    act = ACTS[told.scenario]
    with tempfile.TemporaryDirectory() as place, gateway(Path(place), told.upstream) as running:
        running.until_servers(upstream="ready")
        try:
            await act(running.url(), told)
        except Exception as problem:
            problem.add_note(f"the gateway said:\n{running.said()[-6000:]}")
            raise


class _Handed(socketserver.StreamRequestHandler):
    """One run of a client, in a thread of its own."""

    def handle(self) -> None:
        """Do what is told, and answer with the status and what there is to say."""
        told = json.loads(self.rfile.readline())
        context = json.loads(told["CONTEXT"] or "{}")
        said, status = "", 0
        try:
            asyncio.run(drive(Told(told["SCENARIO"], told["PROTOCOL_VERSION"], told["URL"], context)))
        except BaseException:  # whatever ends a client is told to the suite, and is no end of this process
            said, status = traceback.format_exc(), 1
        self.wfile.write(json.dumps({"said": said, "status": status}).encode() + b"\n")


@contextlib.contextmanager
def driving() -> Iterator[str]:
    """Take what the suite's client command hands over, and give that command."""
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        at = Path(place) / "driver.sock"
        server = stack.enter_context(socketserver.ThreadingUnixStreamServer(str(at), _Handed))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"{sys.executable} -I {Path(__file__).with_name('relay.py')} {at}"
        finally:
            server.shutdown()
            thread.join()
