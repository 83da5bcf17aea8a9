"""What the server of all features lists and reads: prompts, resources, templates, completion, pages.

Values only; the tools' work is in `features_tools`. Standard library only.
"""

from __future__ import annotations

import base64
from typing import Any

from features import INVALID, Call, Message, Refused

PAGE = 3
"""Entries in a page: few, so that every list has several."""
ICON = {"src": "data:image/png;base64,iVBORw0KGgo=", "mimeType": "image/png", "sizes": ["48x48", "any"]}
PANEL = "ui://features/panel"
HTML = "<!doctype html><title>panel</title>"
CITIES = ("Paris", "Parma", "Prague", "Pisa")


def prompt(name: str, *arguments: str, **more: Any) -> Message:
    """Give a prompt's definition."""
    listed = [{"name": each, "description": f"the {each}", "required": True} for each in arguments]
    return {"name": name, "description": f"The prompt {name}.", "arguments": listed, **more}


def resource(uri: str, name: str, mime: str = "text/plain", **more: Any) -> Message:
    """Give a resource's definition."""
    return {"uri": uri, "name": name, "mimeType": mime, **more}


PROMPTS = (
    prompt("greet", "city", title="Greeting", icons=[ICON], _meta={"com.example/kind": "prompt"}),
    prompt("ask_me"),
    prompt("with_resource"),
    *(prompt(f"filler_{number}") for number in range(3)),
)
RESOURCES = (
    resource(
        "note://list/text", "text", title="A text", icons=[ICON], size=11, _meta={"com.example/kind": "note"},
        annotations={"audience": ["user"], "priority": 0.5, "lastModified": "2026-01-02T03:04:05Z"},
    ),
    resource("note://list/blob", "blob", "application/octet-stream"),
    resource("note://ask/me", "asks"),
    resource("memo:plain", "plain"),
    resource("https://example.com/page", "page", "text/html"),
    *(resource(f"note://filler/{number}", f"filler {number}") for number in range(3)),
)  # fmt: skip
TEMPLATES = (
    {"uriTemplate": "note://items/{id}", "name": "items", "title": "Items", "mimeType": "text/plain", "icons": [ICON]},
    {"uriTemplate": "memo:item-{id}", "name": "memos"},
    {"uriTemplate": "note://cities/{country}/{city}", "name": "cities"},
    {"uriTemplate": "https://example.com/items/{id}", "name": "pages"},
)  # fmt: skip
UNLISTED = {
    "note://deep/unlisted": "found below", "memo:deep": "a memo below", "note://embedded/one": "embedded",
}  # fmt: skip


class Catalog:
    """The lists, which tools may change."""

    def __init__(self) -> None:
        self.tools: list[Message] = []
        self.prompts: list[Message] = []
        self.resources: list[Message] = []

    async def list_tools(self, call: Call) -> Message:
        """List a page of tools."""
        from features_tools import definitions

        return page(call, "tools", [*definitions(call.features.modern), *self.tools])

    async def list_prompts(self, call: Call) -> Message:
        """List a page of prompts."""
        return page(call, "prompts", [*PROMPTS, *self.prompts])

    async def list_resources(self, call: Call) -> Message:
        """List a page of resources."""
        return page(call, "resources", [*RESOURCES, *self.resources])

    async def list_templates(self, call: Call) -> Message:
        """List a page of templates."""
        return page(call, "resourceTemplates", list(TEMPLATES))

    async def get_prompt(self, call: Call) -> Message:
        """Give a prompt's messages."""
        name = call.params.get("name")
        if name not in {each["name"] for each in (*PROMPTS, *self.prompts)}:
            raise Refused(INVALID, f"unknown prompt: {name}")
        if name == "greet":
            if "city" not in call.arguments:
                raise Refused(INVALID, "the argument city is missing")
            return said(f"Greetings from {call.arguments['city']}") | {"_meta": {"com.example/made": "greet"}}
        if name == "ask_me":
            answer = await call.ask("name", "elicitation/create", form("Who asks?"))
            return said(f"asked by {answer['content']['name']}")
        if name == "with_resource":
            return said("", {"type": "resource", "resource": text("note://embedded/one", "embedded")})
        return said(str(name))

    async def read(self, call: Call) -> Message:
        """Read a resource, listed or not."""
        uri = str(call.params.get("uri"))
        if uri == "note://list/blob":
            blob = base64.b64encode(bytes(range(256))).decode()
            return {"contents": [{"uri": uri, "mimeType": "application/octet-stream", "blob": blob}]}
        if uri == PANEL:
            meta = {"ui": {"csp": {"connectDomains": ["https://example.com"]}, "prefersBorder": True}}
            return {
                "contents": [
                    {"uri": uri, "mimeType": "text/html;profile=mcp-app", "text": HTML, "_meta": meta}
                ]
            }
        if uri == "note://ask/me":
            answer = await call.ask("name", "elicitation/create", form("Who reads?"))
            return {"contents": [text(uri, f"read by {answer['content']['name']}")]}
        found = self._text(uri)
        if found is None:
            raise Refused(
                INVALID if call.features.modern else -32002, f"resource not found: {uri}", {"uri": uri}
            )
        return {"contents": [text(uri, found, _meta={"com.example/read": True})]}

    async def complete(self, call: Call) -> Message:
        """Complete an argument of a prompt or of a template."""
        reference, argument = call.params["ref"], call.params["argument"]
        known = {
            "ref/prompt": {each["name"] for each in PROMPTS},
            "ref/resource": {each["uriTemplate"] for each in TEMPLATES},
        }
        if reference.get("name", reference.get("uri")) not in known[reference["type"]]:
            raise Refused(INVALID, "unknown reference")
        context = (call.params.get("context") or {}).get("arguments") or {}
        values = [each for each in CITIES if each.lower().startswith(argument["value"].lower())]
        if (country := context.get("country")) == "Italy":
            values = [each for each in values if each in ("Parma", "Pisa")]
        return {
            "completion": {
                "values": values,
                "total": len(values),
                "hasMore": False,
                "com.example/country": country,
            }
        }

    def _text(self, uri: str) -> str | None:
        if uri in UNLISTED:
            return UNLISTED[uri]
        for scheme in ("note://items/", "memo:item-", "https://example.com/items/"):
            if uri.startswith(scheme):
                return f"item {uri.removeprefix(scheme)}"
        listed = {each["uri"] for each in (*RESOURCES, *self.resources)}
        return "héllo wörld" if uri in listed else None


def page(call: Call, key: str, entries: list[Message]) -> Message:
    """Give one page of a list."""
    cursor = call.params.get("cursor")
    try:
        start = 0 if cursor is None else int(str(cursor).removeprefix("at-"))
    except ValueError:
        raise Refused(INVALID, "unknown cursor") from None
    shown = entries[start : start + PAGE]
    following = {"nextCursor": f"at-{start + PAGE}"} if start + PAGE < len(entries) else {}
    return {key: shown, **following}


def text(uri: str, content: str, **more: Any) -> Message:
    """Give a text's contents."""
    return {"uri": uri, "mimeType": "text/plain", "text": content, **more}


def said(words: str, *more: Message) -> Message:
    """Give a prompt's result."""
    content = [{"type": "text", "text": words}, *more]
    return {"description": "what to say", "messages": [{"role": "user", "content": each} for each in content]}


def form(message: str) -> Message:
    """Give the params of an elicitation that asks for a name."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "title": "Name", "minLength": 1}},
        "required": ["name"],
    }
    return {"mode": "form", "message": message, "requestedSchema": schema}
