"""One request that a part of the conformance fixture answers, and its ways to talk back in either era.

A modern client is asked by an `input_required` result and calls again; a legacy one by a request on the call's
own stream. Nothing here knows which tools there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.server import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import ServerEvent, SubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter

Json = dict[str, Any]
Context = ServerRequestContext[Any, Any]

_REQUESTS: TypeAdapter[Any] = TypeAdapter(types.ServerRequest)
_NEEDED = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
_ANSWERS: dict[str, type[types.Result]] = {
    "elicitation/create": types.ElicitResult,
    "sampling/createMessage": types.CreateMessageResult,
    "roots/list": types.ListRootsResult,
}


class InputNeeded(Exception):
    """Ends a modern request with a question; holds the result that asks it."""

    def __init__(self, result: Json) -> None:
        super().__init__("input is needed")
        self.result = result


class NotOffered(Exception):
    """A legacy client lacks what a tool needs, which is the tool's error."""


def lacks(capabilities: Json) -> MCPError:
    """Give the error for a client that did not declare what a request needs."""
    return MCPError(
        code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
        message="this needs a capability that the client did not declare",
        data={"requiredCapabilities": capabilities},
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A request with its context."""

    ctx: Context
    params: types.InputResponseRequestParams
    bus: SubscriptionBus

    @property
    def modern(self) -> bool:
        """Whether the request is of the stateless era."""
        return self.ctx.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def arguments(self) -> Json:
        """The arguments of a tool or prompt."""
        return getattr(self.params, "arguments", None) or {}

    @property
    def state(self) -> str | None:
        """What an earlier round left with the client; its seal was checked."""
        return self.params.request_state

    def declares(self, capability: str) -> bool:
        """Tell whether the client declared a capability."""
        declared = self.ctx.session.client_capabilities
        return declared is not None and getattr(declared, capability) is not None

    def extends(self, extension: str) -> bool:
        """Tell whether the client declared an extension for this request."""
        declared = self.ctx.session.client_capabilities
        return declared is not None and extension in (declared.extensions or {})

    def given(self) -> dict[str, Json]:
        """Give the answers that came with this round."""
        answers = self.params.input_responses or {}
        return {
            key: each.model_dump(mode="json", by_alias=True, exclude_none=True)
            for key, each in answers.items()
        }

    async def ask(self, requests: Mapping[str, Json], state: str | None = None) -> dict[str, Json]:
        """Give the client's answers by key.

        Raises:
            InputNeeded: A modern client has not answered them all yet.
            MCPError: A modern client did not declare what is asked for.
            NotOffered: The same of a legacy client.
        """
        missing = {name: {} for name in self._needs(requests) if not self.declares(name)}
        if missing:
            if self.modern:
                raise lacks(missing)
            raise NotOffered(f"the client does not support {', '.join(missing)}")
        if not self.modern:
            return {key: await self._request(each) for key, each in requests.items()}
        given = self.given()
        if requests.keys() <= given.keys():
            return given
        raise self.needs(requests, state)

    def needs(self, requests: Mapping[str, Json], state: str | None = None) -> InputNeeded:
        """Give what ends this round with questions."""
        result: Json = {"resultType": "input_required", "inputRequests": dict(requests)}
        if state is not None:
            result["requestState"] = state
        return InputNeeded(result)

    async def log(self, text: str) -> None:
        """Send a log message with this request, where the client wants it."""
        await self.ctx.session.send_log_message("info", text, related_request_id=self.ctx.request_id)

    async def progress(self, done: float, total: float) -> None:
        """Tell progress, where the client gave a token."""
        await self.ctx.session.report_progress(done, total, f"step {done:g} of {total:g}")

    async def publish(self, event: ServerEvent) -> None:
        """Tell everybody who listens."""
        await self.bus.publish(event)

    def _needs(self, requests: Mapping[str, Json]) -> list[str]:
        return [_NEEDED[each["method"]] for each in requests.values()]

    async def _request(self, request: Json) -> Json:
        typed = _REQUESTS.validate_python(request)
        related = ServerMessageMetadata(related_request_id=self.ctx.request_id)
        result = await self.ctx.session.send_request(typed, _ANSWERS[request["method"]], metadata=related)
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)


Answer = Callable[[Call], Awaitable[Json]]


def core(server: Server[Any], method: str, params: type[Any], answer: Callable[..., Awaitable[Json]]) -> None:
    """Answer a method of the specification with results that say that they are complete, unless they are not."""

    async def complete(ctx: Context, typed: Any) -> Json:
        result = await answer(ctx, typed)
        return (
            {"resultType": "complete", **result}
            if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
            else result
        )

    server.add_request_handler(method, params, complete)


def said(text: str) -> Json:
    """Give a result of one text."""
    return {"content": [{"type": "text", "text": text}]}


def form(message: str, properties: Json, required: list[str] | None = None) -> Json:
    """Give a request for a form."""
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
    }
    return {
        "method": "elicitation/create",
        "params": {"mode": "form", "message": message, "requestedSchema": schema},
    }


def sample(prompt: str, tokens: int = 100) -> Json:
    """Give a request for a model's answer."""
    content = {"type": "text", "text": prompt}
    return {
        "method": "sampling/createMessage",
        "params": {"messages": [{"role": "user", "content": content}], "maxTokens": tokens},
    }


ROOTS: Json = {"method": "roots/list", "params": {}}
