"""The control socket: what the command line asks a running gateway. Whoever can open it is its operator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs

from tidegate.edge.app import send_bytes, send_json
from tidegate.edge.asgi import Receive, Scope, Send
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.pool import Pool
from tidegate.fleet.workload import Workload
from tidegate.gateway.catalog import Catalog

_LINES = 10_000
_FOLLOW_KEEP_ALIVE = 10.0


class Control:
    """`/v1/status`, `/v1/logs/SERVER`, `/v1/stop`."""

    def __init__(
        self,
        fleet: Fleet,
        catalog: Catalog,
        about: Callable[[], dict[str, object]],
        stop: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        """`about` gives what there is to say of the gateway itself; `now` gives Unix seconds."""
        self._fleet = fleet
        self._catalog = catalog
        self._about = about
        self._stop = stop
        self._now = now
        self._clock = asyncio.get_running_loop().time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        method, path = scope["method"], scope["path"]
        if (method, path) == ("GET", "/v1/status"):
            await send_json(send, 200, self.status())
        elif method == "GET" and path.startswith("/v1/logs/"):
            await self._logs(
                path.removeprefix("/v1/logs/"), parse_qs(scope["query_string"].decode()), receive, send
            )
        elif (method, path) == ("POST", "/v1/stop"):
            self._stop()
            await send_json(send, 202, {"stopping": True})
        else:
            await send_json(send, 404, {"error": f"no {method} {path} here"})

    def status(self) -> dict[str, object]:
        """Give everything there is to say about the gateway and its servers."""
        endpoints = [
            {
                "path": e.path,
                "servers": list(e.spec.servers),
                "names": e.spec.names.value,
                "left_out": list(e.view.dropped),
                "tools": len(e.view.entries),
            }
            for e in self._catalog.endpoints.values()
        ]
        servers = [self._server(pool) for pool in self._fleet.pools.values()]
        return {**self._about(), "endpoints": endpoints, "servers": servers}

    def _server(self, pool: Pool) -> dict[str, object]:
        spec = pool.spec
        state, reason = pool.state()
        definitions = self._catalog.definitions.get(spec.name)
        retries = [w.retry_at - self._clock() for w in pool.workloads.values() if w.retry_at is not None]
        return {
            "name": spec.name,
            "state": state,
            "reason": reason,
            "runtime": spec.runtime,
            "transport": spec.transport.value,
            "launch": spec.describe(),
            "sharing": spec.sharing.value,
            "tools": len(definitions.tools) if definitions else 0,
            "retry_in": round(min(retries), 1) if retries else None,
            "workloads": [self._workload(w) for w in pool.workloads.values()],
        }

    def _workload(self, workload: Workload) -> dict[str, object]:
        ready = workload.ready_since
        return {
            "id": workload.identity.id,
            "state": workload.state.value,
            "reason": workload.reason,
            "in_flight": workload.in_flight,
            "calls": workload.calls,
            "restarts": workload.restarts,
            "started": None if ready is None else round(self._now() - (self._clock() - ready)),
            "era": None if workload.channel is None else workload.channel.upstream.era,
            "facts": dict(workload.facts),
        }

    async def _logs(self, server: str, query: dict[str, list[str]], receive: Receive, send: Send) -> None:
        pool = self._fleet.pools.get(server)
        if pool is None:
            known = ", ".join(self._fleet.pools) or "none"
            await send_json(send, 404, {"error": f"no server {server[:64]!r} (known: {known})"})
            return
        wanted = query.get("lines", ["200"])[0]
        lines = min(int(wanted), _LINES) if wanted.isdecimal() else 200
        text = "".join(f"{line}\n" for line in pool.log.tail(lines)).encode()
        if query.get("follow", ["0"])[0] != "1":
            await send_bytes(send, 200, b"text/plain; charset=utf-8", text)
            return
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        await send({"type": "http.response.body", "body": text, "more_body": True})
        follow = asyncio.create_task(self._follow(pool, send), name="control follow")
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            follow.cancel()
            await asyncio.wait([follow])

    async def _follow(self, pool: Pool, send: Send) -> None:
        async for line in pool.log.follow():
            await send({"type": "http.response.body", "body": line.encode() + b"\n", "more_body": True})
