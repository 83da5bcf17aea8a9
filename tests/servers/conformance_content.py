"""Resources, prompts, completion and log level of the conformance fixture."""

from __future__ import annotations

import json
from typing import Any

import conformance_skills as skills
import mcp_types as types
from conformance_call import Call, Context, InputNeeded, Json, core, form
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import SubscriptionBus
from mcp.shared.exceptions import MCPError

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""
SOUND = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
"""A WAV of one sample."""

_TEXT = "test://static-text"
_BINARY = "test://static-binary"
_WATCHED = "test://watched-resource"
_TEMPLATE = "test://template/{id}/data"
_FIXED: dict[str, Json] = {
    _TEXT: {"mimeType": "text/plain", "text": "This is the content of the static text resource."},
    _BINARY: {"mimeType": "image/png", "blob": PICTURE},
    _WATCHED: {"mimeType": "text/plain", "text": "Watched resource content"},
}
_NAMES = {_TEXT: "static text", _BINARY: "static binary", _WATCHED: "watched resource"}


def text(words: str) -> Json:
    """Give a prompt's message of one text."""
    return {"role": "user", "content": {"type": "text", "text": words}}


def embedded(uri: str, words: str, mime: str = "text/plain") -> Json:
    """Give the content of an embedded resource."""
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": words}}


def picture() -> Json:
    """Give the content of an image."""
    return {"type": "image", "data": PICTURE, "mimeType": "image/png"}


async def list_resources(ctx: Context, params: types.PaginatedRequestParams) -> Json:
    """List what has a fixed URI."""
    fixed = [
        {"uri": uri, "name": name, "description": f"A {name}.", "mimeType": _FIXED[uri]["mimeType"]}
        for uri, name in _NAMES.items()
    ]
    return {"resources": fixed + skills.listed()}


async def list_templates(ctx: Context, params: types.PaginatedRequestParams) -> Json:
    """List the one template."""
    template = {
        "uriTemplate": _TEMPLATE,
        "name": "template",
        "description": "Data by id.",
        "mimeType": "application/json",
    }
    return {"resourceTemplates": [template]}


async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> Json:
    """Read one resource."""
    uri = params.uri
    found = _FIXED.get(uri) or skills.content(uri)
    head, tail = _TEMPLATE.split("{id}")
    if found is None and uri.startswith(head) and uri.endswith(tail):
        number = uri[len(head) : -len(tail)]
        data = {"id": number, "templateTest": True, "data": f"Data for ID: {number}"}
        found = {"mimeType": "application/json", "text": json.dumps(data)}
    if found is None:
        raise MCPError(code=types.INVALID_PARAMS, message="resource not found", data={"uri": uri})
    return {"contents": [{"uri": uri, **found}]}


async def subscribe(ctx: Context, params: Any) -> Json:
    """Take a legacy client's wish to hear of a resource, or its end; nothing here ever changes."""
    return {}


async def set_level(ctx: Context, params: types.SetLevelRequestParams) -> Json:
    """Take a legacy client's log level."""
    return {}


_ARGUMENTS = {
    "test_prompt_with_arguments": {"arg1": "First test argument", "arg2": "Second test argument"},
    "test_prompt_with_embedded_resource": {"resourceUri": "URI of the resource to embed"},
}
_PROMPTS = {
    "test_simple_prompt": "A prompt without arguments.",
    "test_prompt_with_arguments": "A prompt with arguments.",
    "test_prompt_with_embedded_resource": "A prompt with a resource in it.",
    "test_prompt_with_image": "A prompt with an image in it.",
    "test_input_required_result_prompt": "A prompt that asks before it answers.",
}


async def _messages(call: Call, name: str) -> list[Json]:
    given = call.arguments
    if name == "test_simple_prompt":
        return [text("This is a simple prompt for testing.")]
    if name == "test_prompt_with_arguments":
        return [text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")]
    if name == "test_prompt_with_embedded_resource":
        content = embedded(given["resourceUri"], "Embedded resource content for testing.")
        return [{"role": "user", "content": content}, text("Please process the embedded resource above.")]
    if name == "test_prompt_with_image":
        return [{"role": "user", "content": picture()}, text("Please analyze the image above.")]
    question = form("What context should the prompt use?", {"context": {"type": "string"}})
    answers = await call.ask({"user_context": question})
    return [
        text(f"Use the following context: {answers['user_context'].get('content', {}).get('context', '?')}")
    ]


class Content:
    """The handlers that have state: prompts that ask, and what prompts there are."""

    def __init__(self, bus: SubscriptionBus) -> None:
        self.bus = bus
        self.dynamic = False

    async def list_prompts(self, ctx: Context, params: types.PaginatedRequestParams) -> Json:
        """List the prompts."""
        prompts: list[Json] = []
        for name, description in _PROMPTS.items():
            arguments = _ARGUMENTS.get(name, {})
            listed = [
                {"name": each, "description": said, "required": True} for each, said in arguments.items()
            ]
            prompts.append(
                {"name": name, "description": description, **({"arguments": listed} if listed else {})}
            )
        if self.dynamic:
            prompts.append({"name": "test_dynamic_prompt", "description": "Comes and goes."})
        return {"prompts": prompts}

    async def get_prompt(self, ctx: Context, params: types.GetPromptRequestParams) -> Json:
        """Give one prompt."""
        missing = [each for each in _ARGUMENTS.get(params.name, {}) if each not in (params.arguments or {})]
        if params.name not in _PROMPTS or missing:
            raise MCPError(
                code=types.INVALID_PARAMS, message=f"no such prompt, or arguments missing: {missing}"
            )
        try:
            return {"messages": await _messages(Call(ctx, params, self.bus), params.name)}
        except InputNeeded as asked:
            return asked.result

    async def complete(self, ctx: Context, params: types.CompleteRequestParams) -> Json:
        """Complete an argument with words that begin as it does."""
        words = [each for each in ("paris", "park", "party") if each.startswith(params.argument.value)]
        return {"completion": {"values": words, "total": len(words), "hasMore": False}}

    def register(self, server: Server[Any]) -> None:
        """Put the handlers in place."""
        core(server, "resources/list", types.PaginatedRequestParams, list_resources)
        core(server, "resources/templates/list", types.PaginatedRequestParams, list_templates)
        core(server, "resources/read", types.ReadResourceRequestParams, read_resource)
        core(server, "resources/subscribe", types.SubscribeRequestParams, subscribe)
        core(server, "resources/unsubscribe", types.UnsubscribeRequestParams, subscribe)
        core(server, "logging/setLevel", types.SetLevelRequestParams, set_level)
        core(server, "prompts/list", types.PaginatedRequestParams, self.list_prompts)
        core(server, "prompts/get", types.GetPromptRequestParams, self.get_prompt)
        core(server, "completion/complete", types.CompleteRequestParams, self.complete)
