"""Rollout pages on the control socket: where changes of servers are, and steering them. Decides nothing itself."""

from __future__ import annotations

from urllib.parse import parse_qs

from tidegate.domain.errors import TidegateError
from tidegate.edge.admin.door import Actor
from tidegate.edge.admin.operations import Operations
from tidegate.edge.admin.problem import as_problem
from tidegate.edge.app import send_json
from tidegate.edge.asgi import Receive, Scope, Send
from tidegate.fleet.rollout import Rollouts

_PREFIX = "/v1/rollouts"


class RolloutPages:
    """`GET /v1/rollouts`, of one server with `?server=`; `POST /v1/rollouts/SERVER/{pause|promote|undo}`."""

    def __init__(self, rollouts: Rollouts, operations: Operations, actor: Actor) -> None:
        """`actor` is whoever asks here."""
        self._rollouts = rollouts
        self._operations = operations
        self._actor = actor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        method, path = scope["method"], scope["path"]
        server, _, what = path.removeprefix(_PREFIX).removeprefix("/").partition("/")
        try:
            if (method, path) == ("GET", _PREFIX):
                await send_json(send, 200, {"rollouts": self._asked(scope["query_string"].decode("latin-1"))})
            elif method == "POST" and what in ("pause", "promote", "undo"):
                await self._operations.steer(server, what, self._actor.met(scope))
                await send_json(send, 200, {"rollouts": self._rollouts.status(server)})
            else:
                await send_json(send, 404, {"error": f"no {method} {path} here"})
        except TidegateError as error:
            await send_json(send, as_problem(error).status, {"error": str(error)})

    def _asked(self, query: str) -> object:
        server = parse_qs(query).get("server", [None])[0]
        if server is not None:
            self._operations.pool(server)
        return self._rollouts.status(server)
