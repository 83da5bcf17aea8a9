"""Advice pages on the control socket: what servers should be given, and giving it to them. Decides nothing itself."""

from __future__ import annotations

from tidegate.domain.errors import TidegateError
from tidegate.edge.admin.door import Actor
from tidegate.edge.admin.operations import Operations
from tidegate.edge.admin.problem import as_problem
from tidegate.edge.app import send_json
from tidegate.edge.asgi import Receive, Scope, Send


class AdvicePages:
    """`GET /v1/advice`, `POST /v1/advice/SERVER`."""

    def __init__(self, operations: Operations, actor: Actor) -> None:
        """`actor` is whoever asks here."""
        self._operations = operations
        self._actor = actor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        method, path = scope["method"], scope["path"]
        try:
            if (method, path) == ("GET", "/v1/advice"):
                await send_json(send, 200, {"advice": self._operations.advice()})
            elif method == "POST" and path.startswith("/v1/advice/"):
                server = path.removeprefix("/v1/advice/")
                await send_json(send, 200, await self._operations.take_advice(server, self._actor.met(scope)))
            else:
                await send_json(send, 404, {"error": f"no {method} {path} here"})
        except TidegateError as error:
            await send_json(send, as_problem(error).status, {"error": str(error)})
