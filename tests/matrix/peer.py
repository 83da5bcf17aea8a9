"""A client of either era on the official SDK, that records what reaches it and answers what it is asked.

`raw` gives results as they came over the wire, since the SDK's models drop what they do not know.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client import ClientExtension, NotificationBinding, advertise
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel, ConfigDict

Json = dict[str, Any]

LEGACY = "legacy"
MODERN = "2026-07-28"
OWN = "io.modelcontextprotocol/"
ECHO, TASKS, UI = "com.example/echo", f"{OWN}tasks", f"{OWN}ui"
UI_TYPE = "text/html;profile=mcp-app"
PATIENCE = 20.0
ROOTS = [{"uri": "file:///srv/someone/work", "name": "work"}, {"uri": "file:///tmp/a%20b"}]


@dataclass(frozen=True)
class Shown:
    """How an endpoint shows names and URIs: with the server's name before them, or as they are."""

    server: str = ""

    def name(self, name: str) -> str:
        """Give a tool's or prompt's name."""
        return f"{self.server}__{name}" if self.server else name

    def uri(self, uri: str) -> str:
        """Give a URI or a template. What a client may fetch by itself stays as it is."""
        scheme, colon, rest = uri.partition(":")
        if not self.server or scheme in ("http", "https"):
            return uri
        slashes = "//" if rest.startswith("//") else ""
        return f"{scheme}{colon}{slashes}{self.server}__{rest.removeprefix('//')}"


@dataclass
class Peer:
    """A connected client, and all that reached it."""

    client: Client
    mode: str
    shown: Shown
    upstream: str = ""
    """The era of the server behind: legacy or modern; empty where there are several."""
    carrier: str = ""
    direct: bool = False
    """Whether there is no gateway between."""
    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    logged: list[Any] = field(default_factory=list[Any])
    noted: list[Any] = field(default_factory=list[Any])
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def modern(self) -> bool:
        """Whether the client speaks the stateless revision."""
        return self.mode == MODERN

    @property
    def alone(self) -> bool:
        """Whether its endpoint has one server only."""
        return not self.shown.server

    async def raw(
        self,
        method: str,
        params: Json | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Json:
        """Send a request of any kind and give its result as it came.

        Raises:
            MCPError: it was answered with an error.
        """
        session = self.client.session
        data: Json = {"method": method, "params": dict(params or {})}
        opts: Any = {"timeout": PATIENCE, **options}
        session._stamp(data, opts)
        opts["headers"] = {**opts.get("headers", {}), **(headers or {})}
        result: Json = await session._dispatcher.send_raw_request(method, data["params"], opts)
        return result

    async def tell(self, method: str, params: Json | None = None) -> None:
        """Send a notification."""
        data: Json = {"method": method}
        opts: Any = {}
        self.client.session._stamp(data, opts)
        await self.client.session._dispatcher.notify(method, params, opts)

    async def call(self, tool: str, arguments: Json | None = None, **more: Any) -> types.CallToolResult:
        """Call a tool by its own name; questions are answered on the way."""
        result = await self.client.call_tool(self.shown.name(tool), arguments or {}, **more)
        assert isinstance(result, types.CallToolResult), result
        return result

    async def text(self, tool: str, arguments: Json | None = None, **more: Any) -> str:
        """Call a tool and give its text."""
        result = await self.call(tool, arguments, **more)
        assert not result.is_error, result
        first = result.content[0]
        assert isinstance(first, types.TextContent)
        return first.text

    async def json(self, tool: str, arguments: Json | None = None, **more: Any) -> Any:
        """Call a tool and give what its text says as JSON."""
        return json.loads(await self.text(tool, arguments, **more))

    async def pages(self, method: str, key: str) -> list[Json]:
        """List all pages as they came."""
        found: list[Json] = []
        cursor: str | None = None
        for _ in range(200):
            page = await self.raw(method, {} if cursor is None else {"cursor": cursor})
            found += page[key]
            cursor = page.get("nextCursor")
            if cursor is None:
                return found
        raise AssertionError(f"{method} has no last page")

    async def listed(self, method: str, key: str, by: str, value: str) -> Json:
        """Give one entry of a list as it came."""
        entries = await self.pages(method, key)
        found = [each for each in entries if each[by] == value]
        assert len(found) == 1, (value, [each[by] for each in entries])
        return found[0]

    async def tool(self, name: str) -> Json:
        """Give a tool's definition as it came."""
        return await self.listed("tools/list", "tools", "name", self.shown.name(name))

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until what has reached this client makes a condition true."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := condition()):
                    self._news.clear()
                    await self._news.wait()
                return found
        except TimeoutError:
            raise AssertionError(
                f"waited in vain for {what}; {self.asked} {self.logged} {self.noted}"
            ) from None

    async def told(self, method: str, **params: Any) -> Any:
        """Wait for a notification with these params, and give them."""

        def found() -> Any:
            for each in self.noted:
                if each.method == method:
                    got = each.params.model_dump(by_alias=True, mode="json") if each.params else {}
                    if params.items() <= got.items():
                        return got or True
            return None

        return await self.until(found, f"{method} {params}")

    def forget(self) -> None:
        """Forget what has come, before the next act."""
        for each in (self.asked, self.logged, self.noted):
            each.clear()

    def news(self) -> None:
        """Say that something has come."""
        self._news.set()


class Told(BaseModel):
    """A notification of an extension, as it came."""

    model_config = ConfigDict(extra="allow")


class TaskNews(ClientExtension):
    """The tasks extension, as far as this client has it: it hears of tasks."""

    identifier = TASKS

    def __init__(self, keep: Callable[[str, Any], None]) -> None:
        self._keep = keep

    def notifications(self) -> Sequence[NotificationBinding[Any]]:
        """Hear of tasks, as either revision tells it."""

        def hearing(method: str) -> NotificationBinding[Any]:
            async def hear(params: Told) -> None:
                self._keep("noted", SimpleNamespace(method=method, params=params))

            return NotificationBinding(method=method, params_type=Told, handler=hear)

        return [hearing("notifications/tasks"), hearing("notifications/tasks/status")]


@dataclass(frozen=True)
class Offers:
    """What a client declares."""

    elicitation: bool = True
    sampling: bool = True
    roots: bool = True
    extensions: tuple[str, ...] = (ECHO, TASKS, UI)


EVERYTHING, NOTHING = Offers(), Offers(False, False, False, ())


async def refused(awaited: Awaitable[Any], *codes: int) -> MCPError:
    """See that a request is refused with one of these codes, and give the error."""
    try:
        result = await awaited
    except MCPError as error:
        if error.error.code in codes:
            return error
        raise AssertionError(f"refused with another code than {codes}: {error.error}") from error
    raise AssertionError(f"not refused: {str(result)[:300]}")


@asynccontextmanager
async def http(url: str, key: str | None = None) -> AsyncGenerator[Any]:
    """Open the SDK's Streamable HTTP transport."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE, verify=False) as client,
        streamable_http_client(url, http_client=client) as streams,
    ):
        yield streams


def stdio(argv: list[str]) -> AbstractAsyncContextManager[Any]:
    """Open the SDK's stdio transport on a command."""
    return stdio_client(StdioServerParameters(command=argv[0], args=argv[1:]))


sse = sse_client


@asynccontextmanager
async def connect(
    transport: Any,
    mode: str,
    shown: Shown = Shown(),
    *,
    name: str = "someone",
    offers: Offers = EVERYTHING,
    **about: Any,
) -> AsyncGenerator[Peer]:
    """Connect a client that answers questions in its own name."""
    holder: list[Peer] = []
    early: list[tuple[str, Any]] = []

    def keep(which: str, what: Any) -> None:
        if not holder:
            early.append((which, what))
            return
        getattr(holder[0], which).append(what)
        holder[0].news()

    callbacks = _callbacks(name, keep, offers)
    extensions = [
        TaskNews(keep) if each == TASKS else advertise(each, {"mimeTypes": [UI_TYPE]} if each == UI else {})
        for each in offers.extensions
    ]
    client = Client(
        transport, mode=mode, read_timeout_seconds=PATIENCE, cache=None, extensions=extensions or None,
        client_info=types.Implementation(name=name, version="1"), **callbacks,
    )  # fmt: skip
    async with client:
        peer = Peer(client, mode, shown, **about)
        holder.append(peer)
        for which, what in early:
            keep(which, what)
        yield peer


def _callbacks(name: str, keep: Callable[[str, Any], None], offers: Offers) -> Json:
    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        keep("asked", ("elicitation", params))
        if "decline" in params.message:
            return types.ElicitResult(action="decline")
        content = {"name": name} if getattr(params, "requested_schema", None) is not None else None
        return types.ElicitResult(action="accept", content=content)

    async def sample(context: Any, params: Any) -> Any:
        keep("asked", ("sampling", params))
        said = types.TextContent(type="text", text=f"sampled by {name}")
        if params.tools:
            used = types.ToolUseContent(
                type="tool_use", id="use-1", name=params.tools[0].name, input={"city": "Paris"}
            )
            return types.CreateMessageResultWithTools(
                role="assistant", content=[said, used], model="m", stop_reason="toolUse"
            )
        return types.CreateMessageResult(role="assistant", content=said, model="m", stop_reason="endTurn")

    async def roots(context: Any) -> types.ListRootsResult:
        keep("asked", ("roots", None))
        mine = {"uri": f"file:///home/{name}"}
        return types.ListRootsResult.model_validate({"roots": [*ROOTS, mine]})

    async def logged(params: Any) -> None:
        keep("logged", params)

    async def noted(message: Any) -> None:
        if not isinstance(message, Exception):
            keep("noted", message)

    given: Json = {"logging_callback": logged, "message_handler": noted}
    if offers.elicitation:
        given["elicitation_callback"] = elicit
    if offers.sampling:
        given["sampling_callback"] = sample
        given["sampling_capabilities"] = types.SamplingCapability(tools=types.SamplingToolsCapability())
    if offers.roots:
        given["list_roots_callback"] = roots
    return given
