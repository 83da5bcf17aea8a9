"""The control socket: what the command line asks a running gateway. Whoever can open it is its operator.

What can be seen and done is the admin API's (`edge/admin`), without FastAPI, so that nobody who only
looks at a table has it imported.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import parse_qs

from tidegate.domain.errors import TidegateError
from tidegate.edge.admin.door import MAX_BODY, Actor
from tidegate.edge.admin.parts import Parts
from tidegate.edge.admin.problem import Problem, as_problem
from tidegate.edge.admin.quotas import all_quotas
from tidegate.edge.admin.shapes import StatusShape
from tidegate.edge.admin.sight import EVERYTHING
from tidegate.edge.app import send_bytes, send_json
from tidegate.edge.asgi import Receive, Scope, Send
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.pool import Pool

_LINES = 10_000
_RECENT = 1000
_EVENT_STREAM = b"text/event-stream"

B = TypeVar("B")


class Control:
    """`/v1/status`, `/v1/servers/…`, `/v1/signals/…`, `/v1/quotas`, `/v1/stops/…`, `/v1/explain/…`, `/v1/changes`, `/v1/events`,
    `/v1/logs/SERVER`, `/v1/stop` (of the gateway itself).
    """

    def __init__(self, fleet: Fleet, parts: Parts, actor: Actor, stop: Callable[[], None]) -> None:
        """`actor` is whoever asks here."""
        self._fleet = fleet
        self._parts = parts
        self._actor = actor
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        method, path = scope["method"], scope["path"]
        query = parse_qs(scope["query_string"].decode("latin-1"))
        try:
            if (method, path) == ("GET", "/v1/status"):
                await send_json(send, 200, self.status())
            elif (method, path) == ("GET", "/v1/events"):
                await self._events(query, receive, send)
            elif (method, path) == ("GET", "/v1/signals"):
                await send_json(send, 200, {"signals": self._parts.operations.signals()})
            elif (method, path) == ("GET", "/v1/quotas"):
                await send_json(send, 200, all_quotas(self._parts.quotas, EVERYTHING))
            elif (method, path) == ("GET", "/v1/stops"):
                await send_json(send, 200, await self._parts.stopping.all(EVERYTHING))
            elif method == "GET" and path.startswith("/v1/explain/"):
                call = path.removeprefix("/v1/explain/")
                await send_json(send, 200, await self._parts.explaining.recall(call, self._actor.met(scope)))
            elif method == "GET" and path.startswith("/v1/logs/"):
                await self._logs(path.removeprefix("/v1/logs/"), query, receive, send)
            elif (method, path) == ("POST", "/v1/stop"):
                self._stop()
                await send_json(send, 202, {"stopping": True})
            elif method == "GET" and path.startswith("/v1/servers/"):
                pool = self._parts.operations.pool(path.removeprefix("/v1/servers/"))
                await send_json(send, 200, self._parts.views.detail(pool))
            elif method == "POST" and (done := await self._do(scope, receive)) is not None:
                await send_json(send, 200, done)
            else:
                await send_json(send, 404, {"error": f"no {method} {path} here"})
        except TidegateError as error:
            await send_json(send, as_problem(error).status, {"error": str(error)})

    def status(self) -> StatusShape:
        """Give everything there is to say about the gateway and its servers."""
        views = self._parts.views
        return {**self._parts.about(), "endpoints": views.endpoints(), "servers": views.servers()}

    async def _do(self, scope: Scope, receive: Receive) -> Mapping[str, object] | None:
        """Do what is asked for; None where there is no such thing."""
        body: bytes = (await receive()).get("body", b"")
        if len(body) > MAX_BODY:
            raise Problem(413, "too_large", f"the body is larger than {MAX_BODY} bytes")
        from tidegate.edge.admin.actions import ask  # with models that nobody needs who only looks

        path: str = scope["path"]
        return await ask(self._parts, path.removeprefix("/v1/"), body, self._actor.met(scope))

    async def _logs(self, server: str, query: dict[str, list[str]], receive: Receive, send: Send) -> None:
        pool = self._parts.operations.pool(server)
        text = "".join(f"{line}\n" for line in pool.log.tail(_number(query, "lines", 200, _LINES))).encode()
        if query.get("follow", ["0"])[0] != "1":
            await send_bytes(send, 200, b"text/plain; charset=utf-8", text)
            return
        await _stream(b"text/plain", _lines(pool, text), receive, send)

    async def _events(self, query: dict[str, list[str]], receive: Receive, send: Send) -> None:
        follower = self._parts.feed.follow(
            query.get("after", [None])[0],
            recent=_number(query, "recent", 0, _RECENT),
            server=query.get("server", [None])[0],
        )
        if query.get("follow", ["1"])[0] != "1":
            await send_bytes(send, 200, _EVENT_STREAM, follower.so_far())
            return
        try:
            await _stream(_EVENT_STREAM, follower.pieces(), receive, send)
        finally:
            follower.leave()


async def _lines(pool: Pool, first: bytes) -> AsyncGenerator[bytes, None]:
    yield first
    async for line in pool.log.follow():
        yield line.encode() + b"\n"


def _number(query: dict[str, list[str]], name: str, default: int, most: int) -> int:
    given = query.get(name, [""])[0]
    return min(int(given), most) if given.isascii() and given.isdecimal() and len(given) < 10 else default


async def _stream(kind: bytes, pieces: AsyncGenerator[bytes, None], receive: Receive, send: Send) -> None:
    """Send pieces until there are no more, or the client goes away."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})

    async def flow() -> None:
        try:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            await pieces.aclose()

    await _either(flow(), _gone(receive))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _either(one: Awaitable[None], other: Awaitable[None]) -> None:
    """Wait for either to end, and end both."""
    tasks = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
