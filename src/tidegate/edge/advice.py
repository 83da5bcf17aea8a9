"""Advice pages on the control socket: what servers should be given, and giving it to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from tidegate.domain.errors import TidegateError
from tidegate.edge.app import send_json
from tidegate.edge.asgi import Receive, Scope, Send
from tidegate.fleet.advice import Advice
from tidegate.fleet.fleet import Fleet


class AdvicePages:
    """`GET /v1/advice`, `POST /v1/advice/SERVER`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        method, path = scope["method"], scope["path"]
        if (method, path) == ("GET", "/v1/advice"):
            await send_json(send, 200, {"advice": self.advice()})
        elif method == "POST" and path.startswith("/v1/advice/"):
            await self._apply(path.removeprefix("/v1/advice/"), send)
        else:
            await send_json(send, 404, {"error": f"no {method} {path} here"})

    def advice(self) -> list[Mapping[str, object]]:
        """Give what is recommended for each server."""
        return [_shape(each) for each in self._fleet.adviser.all()]

    async def _apply(self, name: str, send: Send) -> None:
        if name not in self._fleet.pools:
            known = ", ".join(self._fleet.pools) or "none"
            await send_json(send, 404, {"error": f"no server {name[:64]!r} (known: {known})"})
            return
        advice = self._fleet.adviser.of(name)
        if not advice.changes:
            await send_json(
                send, 409, {"error": f"nothing else is recommended for server {name}: {advice.reason}"}
            )
            return
        try:
            applied = await self._fleet.adviser.apply(advice)
        except TidegateError as error:
            await send_json(send, 500, {"error": str(error)})
            return
        await send_json(send, 200, {"advice": _shape(advice), "applied": [asdict(each) for each in applied]})


def _shape(advice: Advice) -> Mapping[str, object]:
    return {**asdict(advice), "changes": advice.changes}
