"""The tools of the conformance fixture, by the names that the suite asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
import mcp_types as types
from conformance_call import (
    ROOTS,
    Answer,
    Call,
    Context,
    InputNeeded,
    Json,
    NotOffered,
    core,
    form,
    lacks,
    said,
    sample,
)
from conformance_content import SOUND, Content, embedded, picture
from conformance_tasks import Jobs
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import PromptsListChanged, SubscriptionBus, ToolsListChanged
from mcp.shared.exceptions import MCPError

_TEXT: Json = {"type": "string"}
_NAME = {"name": _TEXT}
_OK = {"ok": {"type": "boolean"}}

JSON_SCHEMA: Json = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {"$anchor": "addressDef", "type": "object", "properties": {"street": _TEXT, "city": _TEXT}}
    },
    "properties": {
        "name": _TEXT,
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": _TEXT,
        "email": _TEXT,
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
_DEFAULTS: Json = {
    "name": {"type": "string", "description": "User name", "default": "John Doe"},
    "age": {"type": "integer", "description": "User age", "default": 30},
    "score": {"type": "number", "description": "User score", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "description": "Verification status", "default": True},
}


def _titled(**titles: str) -> list[Json]:
    return [{"const": value, "title": title} for value, title in titles.items()]


_ENUMS: Json = {
    "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
    "titledSingle": {"type": "string", "oneOf": _titled(value1="First", value2="Second", value3="Third")},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
    "untitledMulti": {
        "type": "array",
        "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
    },
    "titledMulti": {"type": "array", "items": {"anyOf": _titled(value1="First", value2="Second")}},
}


async def simple_text(call: Call) -> Json:
    """Give a text."""
    return said("This is a simple text response for testing.")


async def image_content(call: Call) -> Json:
    """Give an image."""
    return {"content": [picture()]}


async def audio_content(call: Call) -> Json:
    """Give a sound."""
    return {"content": [{"type": "audio", "data": SOUND, "mimeType": "audio/wav"}]}


async def embedded_resource(call: Call) -> Json:
    """Give a resource."""
    return {"content": [embedded("test://embedded-resource", "This is an embedded resource content.")]}


async def multiple_content_types(call: Call) -> Json:
    """Give three kinds of content."""
    data = embedded("test://mixed-content-resource", '{"test": "data", "value": 123}', "application/json")
    return {"content": [*said("Multiple content types test:")["content"], picture(), data]}


async def with_logging(call: Call) -> Json:
    """Log three times while it works."""
    for step in ("started", "processing", "completed"):
        await call.log(f"Tool execution {step}")
        await anyio.sleep(0.02)
    return said("Tool with logging executed successfully")


async def with_progress(call: Call) -> Json:
    """Tell progress three times while it works."""
    for done in (0, 50, 100):
        await call.progress(done, 100)
        await anyio.sleep(0.02)
    return said("Tool with progress executed successfully")


async def error_handling(call: Call) -> Json:
    """Fail, always."""
    return {**said("This tool intentionally returns an error for testing"), "isError": True}


async def sampling(call: Call) -> Json:
    """Ask the client's model."""
    answers = await call.ask({"sample": sample(call.arguments.get("prompt", ""))})
    return said(f"LLM response: {answers['sample']['content'].get('text', '')}")


async def elicitation(call: Call) -> Json:
    """Ask the user for a name and an address."""
    asked = form(call.arguments.get("message", ""), {"username": _TEXT, "email": _TEXT})
    return _told("User response", (await call.ask({"user": asked}))["user"])


async def elicitation_defaults(call: Call) -> Json:
    """Ask with a default for every primitive type (SEP-1034)."""
    asked = form("Please provide user information", _DEFAULTS, [])
    return _told("Elicitation completed", (await call.ask({"user": asked}))["user"])


async def elicitation_enums(call: Call) -> Json:
    """Ask with every form of an enumeration (SEP-1330)."""
    asked = form("Please select values", _ENUMS, [])
    return _told("Elicitation completed", (await call.ask({"user": asked}))["user"])


def _told(what: str, answer: Json) -> Json:
    return said(f"{what}: action={answer['action']}, content={json.dumps(answer.get('content', {}))}")


async def reconnection(call: Call) -> Json:
    """Close the stream while it works (SEP-1699)."""
    if call.ctx.close_sse_stream is not None:
        await call.ctx.close_sse_stream()
        await anyio.sleep(0.1)
    return said("Reconnection test completed")


async def schema_tool(call: Call) -> Json:
    """Have a schema with all the words of JSON Schema 2020-12."""
    return said("json_schema_2020_12_tool")


async def mirrored(call: Call) -> Json:
    """Take an argument that is mirrored in a header (SEP-2243)."""
    return said(f"region={call.arguments.get('region')}")


async def missing_capability(call: Call) -> Json:
    """Need sampling."""
    if not call.declares("sampling"):
        raise lacks({"sampling": {}})
    return said("The client declared sampling.")


async def streaming_elicitation(call: Call) -> Json:
    """Ask the user within a round."""
    await call.ask({"user": form("Please confirm", _OK)})
    return said("confirmed")


async def logging_tool(call: Call) -> Json:
    """Log once, where the request allows it."""
    await call.log("a message that only those get who want it")
    return said("logged")


async def greet(call: Call) -> Json:
    """Greet; never a task."""
    return said(f"Hello, {call.arguments.get('name', 'World')}!")


async def ask_name(call: Call) -> Json:
    """Ask the user's name."""
    answers = await call.ask({"user_name": form("What is your name?", _NAME)})
    return said(f"Hello, {answers['user_name'].get('content', {}).get('name', 'stranger')}!")


async def ask_model(call: Call) -> Json:
    """Ask the client's model."""
    answers = await call.ask({"capital_question": sample("What is the capital of France?")})
    return said(f"Model said: {answers['capital_question']['content'].get('text', '?')}")


async def ask_roots(call: Call) -> Json:
    """Ask for the client's roots."""
    answers = await call.ask({"client_roots": ROOTS})
    return said(f"Client exposed {len(answers['client_roots']['roots'])} root(s).")


async def ask_with_state(call: Call) -> Json:
    """Ask, with a state to be brought back."""
    await call.ask({"confirm": form("Please confirm", _OK)}, "round-1")
    if call.modern and call.state != "round-1":
        raise call.needs({"confirm": form("Please confirm", _OK)}, "round-1")
    return said("state-ok: confirmation received")


async def ask_three(call: Call) -> Json:
    """Ask the user, the model and for roots at once."""
    requests = {
        "user_name": form("What is your name?", _NAME),
        "greeting": sample("Generate a greeting", 50),
        "client_roots": ROOTS,
    }
    await call.ask(requests, "three")
    return said("All inputs received.")


async def ask_twice(call: Call) -> Json:
    """Ask, and ask again."""
    first = {"step1": form("Step 1: What is your name?", _NAME)}
    second = {"step2": form("Step 2: What is your favorite color?", {"color": _TEXT})}
    if not call.modern:
        answers = {**await call.ask(first), **await call.ask(second)}
        name = answers["step1"].get("content", {}).get("name")
    else:
        state = json.loads(call.state) if call.state else {}
        if "name" not in state:
            answers = await call.ask(first, json.dumps({"round": 1}))
            name = answers["step1"].get("content", {}).get("name")
            raise call.needs(second, json.dumps({"name": name}))
        name = state["name"]
        answers = await call.ask(second, call.state)
    return said(f"{name} likes {answers['step2'].get('content', {}).get('color')}.")


async def ask_what_is_declared(call: Call) -> Json:
    """Ask only what the client can answer."""
    requests: dict[str, Json] = {}
    if call.declares("sampling"):
        requests["sample"] = sample("Say hello", 50)
    if call.declares("elicitation"):
        requests["ask"] = form("What is your name?", _NAME)
    if not requests:
        return said("There is nothing to ask this client.")
    await call.ask(requests, "declared")
    return said("answered")


class Tools:
    """The tools there are, and the requests to list and call them."""

    def __init__(self, bus: SubscriptionBus, content: Content, jobs: Jobs) -> None:
        self.bus = bus
        self.content = content
        self.jobs = jobs
        self.dynamic = False
        self.answers: Mapping[str, Answer] = self._answers()

    def _answers(self) -> dict[str, Answer]:
        result = "test_input_required_result_"
        return {
            "test_simple_text": simple_text,
            "test_image_content": image_content,
            "test_audio_content": audio_content,
            "test_embedded_resource": embedded_resource,
            "test_multiple_content_types": multiple_content_types,
            "test_tool_with_logging": with_logging,
            "test_tool_with_progress": with_progress,
            "test_error_handling": error_handling,
            "test_sampling": sampling,
            "test_elicitation": elicitation,
            "test_elicitation_sep1034_defaults": elicitation_defaults,
            "test_elicitation_sep1330_enums": elicitation_enums,
            "test_reconnection": reconnection,
            "json_schema_2020_12_tool": schema_tool,
            "test_x_mcp_header": mirrored,
            "test_missing_capability": missing_capability,
            "test_streaming_elicitation": streaming_elicitation,
            "test_logging_tool": logging_tool,
            "test_trigger_tool_change": self.change_tools,
            "test_trigger_prompt_change": self.change_prompts,
            f"{result}elicitation": ask_name,
            f"{result}sampling": ask_model,
            f"{result}list_roots": ask_roots,
            f"{result}request_state": ask_with_state,
            f"{result}multiple_inputs": ask_three,
            f"{result}multi_round": ask_twice,
            f"{result}tampered_state": ask_with_state,
            f"{result}capabilities": ask_what_is_declared,
            "greet": greet,
            "slow_compute": self.jobs.slow_compute,
            "failing_job": self.jobs.failing_job,
            "protocol_error_job": self.jobs.protocol_error_job,
            "confirm_delete": self.jobs.confirm_delete,
            "multi_input": self.jobs.multi_input,
            "test_tool_with_task": self.jobs.test_tool_with_task,
        }

    async def change_tools(self, call: Call) -> Json:
        """Put one more tool on the list, or take it off again."""
        self.dynamic = not self.dynamic
        await call.publish(ToolsListChanged())
        return said("tool list changed")

    async def change_prompts(self, call: Call) -> Json:
        """Put one more prompt on the list, or take it off again."""
        self.content.dynamic = not self.content.dynamic
        await call.publish(PromptsListChanged())
        return said("prompt list changed")

    def schema(self, name: str) -> Json | None:
        """Give a tool's schema, or None where there is no such tool."""
        return _schema(name) if name in self.answers else None

    async def list(self, ctx: Context, params: types.PaginatedRequestParams) -> Json:
        """List the tools, always in the same order."""
        tools = [
            {"name": name, "description": answer.__doc__ or name, "inputSchema": _schema(name)}
            for name, answer in self.answers.items()
        ]
        if self.dynamic:
            tools.append(
                {"name": "test_dynamic_tool", "description": "Comes and goes.", "inputSchema": _schema("")}
            )
        return {"tools": tools}

    async def call(self, ctx: Context, params: types.CallToolRequestParams) -> Json:
        """Call a tool."""
        answer = self.answers.get(params.name)
        if answer is None:
            raise MCPError(code=types.INVALID_PARAMS, message=f"unknown tool: {params.name}")
        try:
            return await answer(Call(ctx, params, self.bus))
        except InputNeeded as asked:
            return asked.result
        except NotOffered as lacking:
            return {**said(str(lacking)), "isError": True}

    def register(self, server: Server[Any]) -> None:
        """Put the handlers in place."""
        core(server, "tools/list", types.PaginatedRequestParams, self.list)
        core(server, "tools/call", types.CallToolRequestParams, self.call)


_PROPERTIES: dict[str, Json] = {
    "test_sampling": {"prompt": _TEXT},
    "test_elicitation": {"message": _TEXT},
    "greet": _NAME,
    "slow_compute": {"seconds": {"type": "number", "minimum": 0, "maximum": 3600}, "label": _TEXT},
    "confirm_delete": {"filename": _TEXT},
    "test_x_mcp_header": {"region": {"type": "string", "x-mcp-header": "Region"}},
}


def _schema(name: str) -> Json:
    if name == "json_schema_2020_12_tool":
        return JSON_SCHEMA
    return {"type": "object", "properties": _PROPERTIES.get(name, {})}
