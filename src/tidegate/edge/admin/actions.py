"""Actions: what an administrator asks for in so many words, done. The control socket and the API share them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from tidegate.edge.admin.bodies import (
    Body,
    ChangeBody,
    ExplainBody,
    QuarantineBody,
    ReasonBody,
    RestartBody,
    ScaleBody,
    SignalBody,
    StopBody,
)
from tidegate.edge.admin.door import Actor
from tidegate.edge.admin.parts import Parts
from tidegate.edge.admin.problem import Problem
from tidegate.edge.admin.shapes import DoneShape, SignalShape, StopLiftedShape
from tidegate.edge.admin.sight import EVERYTHING, Sight


async def restart(parts: Parts, name: str, body: RestartBody, by: Actor) -> DoneShape:
    """Replace each workload of a server."""
    done = await parts.operations.restart(name, body.reason, by, body.wait)
    return _server(parts, name, done=done)


async def scale(parts: Parts, name: str, body: ScaleBody, by: Actor) -> DoneShape:
    """Set how many workloads a shared server has."""
    parts.operations.scale(name, body.min, body.max, body.reason, by)
    return _server(parts, name, done=True)


async def quarantine(parts: Parts, name: str, body: QuarantineBody, by: Actor) -> DoneShape:
    """Take a server out of use."""
    parts.operations.quarantine(name, body.reason, by)
    return _server(parts, name, done=True)


async def release(parts: Parts, name: str, body: ReasonBody, by: Actor) -> DoneShape:
    """Take a server out of quarantine."""
    parts.operations.release(name, body.reason, by)
    return _server(parts, name, done=True)


def _server(parts: Parts, name: str, *, done: bool) -> DoneShape:
    return {"server": parts.views.server(parts.operations.pool(name)), "done": done}


B = TypeVar("B", bound=Body)
_Action = Callable[[bytes], Callable[[Parts, str, Actor], Awaitable[DoneShape]]]


def _reading(kind: type[Body], act: Callable[..., Awaitable[DoneShape]]) -> _Action:
    def read(body: bytes) -> Callable[[Parts, str, Actor], Awaitable[DoneShape]]:
        given = parse(kind, body)
        return lambda parts, name, by: act(parts, name, given, by)

    return read


_ON_SERVERS = {
    "restart": _reading(RestartBody, restart),
    "scale": _reading(ScaleBody, scale),
    "quarantine": _reading(QuarantineBody, quarantine),
    "release": _reading(ReasonBody, release),
}


async def signal(
    parts: Parts, name: str, body: SignalBody, by: Actor, sight: Sight = EVERYTHING
) -> SignalShape:
    """Turn a signal from outside on or off."""
    return await parts.operations.signal(name, body, by, sight)


async def resume(
    parts: Parts, stop_id: str, body: ReasonBody, by: Actor, sight: Sight = EVERYTHING
) -> StopLiftedShape:
    """Take a stop back."""
    return {"id": stop_id, "stop": await parts.stopping.lift(stop_id, body.reason, by, sight)}


async def ask(parts: Parts, path: str, body: bytes, by: Actor) -> Mapping[str, object] | None:
    """Do what a path of the control socket such as `servers/NAME/restart` says; None where it says nothing known.

    Raises:
        Problem: it is not said as it should be, or cannot be done.
    """
    if path == "changes":
        change = parse(ChangeBody, body)
        parts.operations.note(change.event, change.name, by)
        return {"recorded": True}
    if path == "explain":
        return await parts.explaining.explain(parse(ExplainBody, body), by)
    if path == "stops":
        return await parts.stopping.add(parse(StopBody, body), by)
    kind, _, rest = path.partition("/")
    name, _, what = rest.partition("/")
    if kind == "signals" and name and not what:
        return await signal(parts, name, parse(SignalBody, body), by)
    if kind == "stops" and what == "resume":
        return await resume(parts, name, parse(ReasonBody, body), by)
    if kind != "servers" or what not in _ON_SERVERS:
        return None
    parts.operations.pool(name)
    return await _ON_SERVERS[what](body)(parts, name, by)


def parse(kind: type[B], body: bytes) -> B:
    """Read a body.

    Raises:
        Problem: it is not as it should be; says what, and never what was sent.
    """
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise Problem(422, "invalid_params", said(error.errors(include_input=False))) from None


def said(errors: Iterable[Mapping[str, Any]]) -> str:
    """Say in one line what is wrong with a body, bounded; never what was sent."""
    lines: list[str] = []
    for each in errors:
        place = ".".join(str(part) for part in each["loc"])[:200]
        what = str(each["msg"]).removeprefix("Value error, ")[
            :200
        ]  # the validator's own word, of no use to anybody
        lines.append(f"{place}: {what}" if place else what)
    return "; ".join(lines[:10])
