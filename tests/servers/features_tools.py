"""The tools of the server of all features: what each is declared as, and what it does. Standard library only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from features import INVALID, Call, Features, Message, Refused, ToolFailed, forever
from features_catalog import ICON, PANEL, form, prompt, resource, text

Body = Callable[[Call], Awaitable[Message]]

MEET_SECONDS = 2.0

_TOOLS: dict[str, tuple[Message, Body]] = {}


def schema(**properties: Any) -> Message:
    """Give an inputSchema: a property is a JSON type, or a whole schema."""
    typed = {key: value if isinstance(value, dict) else {"type": value} for key, value in properties.items()}
    return {"type": "object", "properties": typed}


def tool(inputs: Message | None = None, **more: Any) -> Callable[[Body], Body]:
    """Declare the function below as a tool of its name."""

    def declare(body: Body) -> Body:
        name = body.__name__
        definition = {
            "name": name,
            "description": (body.__doc__ or "").strip(),
            "inputSchema": inputs or schema(),
        }
        _TOOLS[name] = (definition | more, body)
        return body

    return declare


def definitions(modern: bool) -> list[Message]:
    """Give the tools as they are listed."""
    era = "modern" if modern else "legacy"
    return [
        {key: value for key, value in definition.items() if not (modern and key == "execution")}
        | {"annotations": {"title": f"a tool of the {era} server", **definition.get("annotations", {})}}
        for definition, _ in _TOOLS.values()
    ]


def input_schema(name: str) -> Message | None:
    """Give a tool's inputSchema."""
    found = _TOOLS.get(name)
    return found[0]["inputSchema"] if found else None


async def call_tool(call: Call) -> Message:
    """Do what a tool does; its failure is a result."""
    name = call.params.get("name")
    if name in {each["name"] for each in call.features.catalog.tools}:
        return words("added at run time")
    if name not in _TOOLS:
        raise Refused(INVALID, f"Unknown tool: {name}")
    await meet(call)
    try:
        if name == "job":
            return await call.features.tasks.start(call)
        return await _TOOLS[name][1](call)
    except ToolFailed as problem:
        return words(str(problem), isError=True)


async def meet(call: Call) -> None:
    """Wait until as many calls as `meet` says are in its room, so that they work at once.

    Where they come one at a time the others never do: after one wait in vain nobody is waited for again.
    """
    wanted, features = call.arguments.get("meet"), call.features
    if wanted is None or features.lonely:
        return
    room = features.rooms.setdefault(wanted["room"], [set[str](), asyncio.Event()])
    room[0].add(wanted["who"])
    if len(room[0]) >= wanted["of"]:
        room[1].set()
    try:
        await asyncio.wait_for(room[1].wait(), MEET_SECONDS)
    except TimeoutError:
        features.lonely = True


def words(content: str, **more: Any) -> Message:
    """Give a result of one text."""
    return {"content": [{"type": "text", "text": content}], **more}


def told(value: Any) -> Message:
    """Give a result of one text that is JSON."""
    return words(json.dumps(value))


@tool(
    schema(text="string"),
    title="Echo", icons=[ICON, {"src": "https://example.com/icon.svg", "theme": "dark"}],
    annotations={"readOnlyHint": True, "idempotentHint": True, "vendorHint": "kept"},
    _meta={"com.example/kind": "tool"}, futureField={"a": [1, 2.0, None]},
)  # fmt: skip
async def echo(call: Call) -> Message:
    """Say it again."""
    return words(call.arguments.get("text", ""))


@tool(
    outputSchema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"count": {"type": "integer"}, "half": {"$ref": "#/$defs/half"}},
        "$defs": {"half": {"$anchor": "half", "type": "number"}},
        "required": ["count"],
    }
)
async def structured(call: Call) -> Message:
    """Give structured output, with numbers that no float holds."""
    value = {"count": 12345678901234567890, "half": 1.0, "none": None, "deep": {"é": ["\u2028", ""]}}
    return {
        "content": [{"type": "text", "text": json.dumps(value), "annotations": {"priority": 1}}],
        "structuredContent": value,
        "futureField": {"kept": True},
        "_meta": {"com.example/from": "structured"},
    }


@tool()
async def odd(call: Call) -> Message:
    """Give content of a type that nobody knows."""
    return {"content": [{"type": "com.example/hologram", "data": {"x": 1.50}}], "isError": False}


@tool()
async def media(call: Call) -> Message:
    """Give an image and a sound."""
    return {
        "content": [
            {"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"},
            {"type": "audio", "data": "UklGRg==", "mimeType": "audio/wav"},
        ]
    }


@tool()
async def meta(call: Call) -> Message:
    """Tell the `_meta` that came, and give some back."""
    return told(call.meta) | {"_meta": {"com.example/answer": {"n": 1}}}


@tool()
async def links(call: Call) -> Message:
    """Give links to resources that no list has, and one embedded."""
    return {
        "content": [
            {"type": "resource_link", **resource("note://deep/unlisted", "deep"), "icons": [ICON]},
            {"type": "resource_link", **resource("memo:deep", "memo")},
            {"type": "resource_link", **resource("https://example.com/page", "page")},
            {"type": "resource", "resource": text("note://embedded/one", "embedded")},
        ]
    }


@tool(
    _meta={"ui": {"resourceUri": PANEL, "visibility": ["model", "app"]}, "ui/resourceUri": PANEL},
)
async def panel(call: Call) -> Message:
    """Show a panel."""
    return words("shown", structuredContent={"shown": True})


@tool(_meta={"ui": {"resourceUri": PANEL, "visibility": ["app"]}})
async def panel_only(call: Call) -> Message:
    """Serve the panel alone."""
    return words("for the panel")


@tool()
async def fails(call: Call) -> Message:
    """Fail as a tool does."""
    raise ToolFailed("this tool always fails")


@tool()
async def breaks(call: Call) -> Message:
    """End in an error of the application's own."""
    raise Refused(1234, "this tool always breaks", {"extra": [1, 2]})


@tool(schema(uri="string"))
async def touch(call: Call) -> Message:
    """Change a resource."""
    await call.features.updated(call.arguments["uri"])
    return words("touched")


@tool(schema(kind="string", name="string"))
async def change(call: Call) -> Message:
    """Add a tool, a prompt or a resource, or take it away again."""
    kind, name = call.arguments["kind"], call.arguments["name"]
    made = {
        "tools": {"name": name, "description": "added", "inputSchema": schema()},
        "prompts": prompt(name),
        "resources": resource(f"note://added/{name}", name),
    }[kind]
    entries: list[Message] = getattr(call.features.catalog, kind)
    if made in entries:
        entries.remove(made)
    else:
        entries.append(made)
    await call.features.changed(kind)
    return words("changed")


@tool(schema(text="string"))
async def log(call: Call) -> Message:
    """Log at three levels."""
    for level in ("debug", "info", "error"):
        await call.log(level, {"text": call.arguments.get("text"), "level": level})
    return words("logged")


@tool(schema(steps="integer"))
async def progress(call: Call) -> Message:
    """Tell of progress."""
    steps = int(call.arguments.get("steps", 3))
    for step in range(1, steps + 1):
        await call.progress(step, steps, f"step {step}")
    return words("done")


@tool(schema(mark="string"))
async def wait(call: Call) -> Message:
    """Wait until cancelled, having told once that it began."""
    mark = call.arguments["mark"]
    call.features.marks[mark] = "waiting"
    await call.progress(1, 2, "waiting")
    try:
        await forever()
    except asyncio.CancelledError:
        call.features.marks[mark] = "cancelled"
        raise
    return words("never")


@tool(schema(mark="string"))
async def waited(call: Call) -> Message:
    """Tell what became of a `wait`."""
    return words(call.features.marks.get(call.arguments["mark"], "unknown"))


@tool(schema(text="string"))
async def ask_form(call: Call) -> Message:
    """Ask for a name."""
    return told(await call.ask("name", "elicitation/create", form(call.arguments.get("text", "Who is it?"))))


@tool(schema(text="string"))
async def ask_url(call: Call) -> Message:
    """Ask to open a page."""
    message = call.arguments.get("text", "Please look")
    params = {"mode": "url", "message": message, "url": "https://example.com/consent?x=1&y=2"}
    answer = await call.ask("page", "elicitation/create", params)
    if not call.features.modern:
        await call.peer.notify(
            "notifications/elicitation/complete", {"elicitationId": f"elicitation-{call.id}"}
        )
    return told(answer)


@tool(schema(text="string"))
async def ask_sampling(call: Call) -> Message:
    """Ask for a completion."""
    return told(
        await call.ask("answer", "sampling/createMessage", sampling(call.arguments.get("text", "Hello?")))
    )


@tool()
async def ask_sampling_tools(call: Call) -> Message:
    """Ask for a completion that may use tools."""
    offered = [{"name": "weather", "description": "The weather.", "inputSchema": schema(city="string")}]
    params = sampling("What is the weather?") | {"tools": offered, "toolChoice": {"mode": "required"}}
    return told(await call.ask("answer", "sampling/createMessage", params))


@tool()
async def ask_roots(call: Call) -> Message:
    """Ask for the roots."""
    return told(await call.ask("roots", "roots/list"))


@tool(schema(text="string"))
async def ask_several(call: Call) -> Message:
    """Ask for a name and for the roots, and then for a page to be opened."""
    first = await call.ask_all({
        "name": ("elicitation/create", form(call.arguments.get("text", "Who is it?"))), "roots": ("roots/list", None),
    })  # fmt: skip
    params = {"mode": "url", "message": "And look", "url": "https://example.com/"}
    second = await call.ask("page", "elicitation/create", params)
    return told({"name": first["name"], "roots": first["roots"], "page": second})


@tool(schema(what="string", text="string"))
async def ask_anyway(call: Call) -> Message:
    """Ask what the client may never have declared: form, url, sampling or roots."""
    message = call.arguments.get("text", "Undeclared?")
    question: tuple[str, Message | None] = {
        "form": ("elicitation/create", form(message)),
        "url": ("elicitation/create", {"mode": "url", "message": message, "url": "https://example.com/"}),
        "sampling": ("sampling/createMessage", sampling(message)),
        "roots": ("roots/list", None),
    }[call.arguments["what"]]
    return told(await call.ask_anyway({"it": question}))


@tool()
async def declared(call: Call) -> Message:
    """Tell what the client declared, and what it has told since."""
    connection = call.peer.connection
    return told({
        "capabilities": call.peer.capabilities, "clientInfo": call.peer.client_info,
        "rootsChanged": connection.roots_changed if connection else None,
    })  # fmt: skip


@tool(
    schema(
        region={"type": "string", "x-mcp-header": "Region"},
        place={"type": "object", "properties": {"row": {"type": "integer", "x-mcp-header": "Row"}}},
    )
)
async def region(call: Call) -> Message:
    """Tell the arguments, and the headers that repeat them."""
    headers = call.peer.headers
    seen = {
        key: value for key, value in (headers or {}).items() if key.startswith(("mcp-param-", "mcp-name"))
    }
    return told({"arguments": call.arguments, "headers": seen if headers is not None else None})


@tool(
    schema(text="string", ask="boolean", hold="boolean", fail="boolean"),
    execution={"taskSupport": "optional"},
)
async def job(call: Call) -> Message:
    """Work as a task."""
    raise NotImplementedError("the tasks start it")


def sampling(message: str) -> Message:
    """Give the params of a sampling request."""
    return {
        "messages": [{"role": "user", "content": {"type": "text", "text": message}}],
        "systemPrompt": "Be brief.", "maxTokens": 100, "temperature": 0.5,
        "modelPreferences": {"hints": [{"name": "quick"}], "speedPriority": 1.0},
    }  # fmt: skip


def server(modern: bool) -> Features:
    """Make the server."""
    return Features(modern)
