"""Deciding on the path of a call: engines asked where one has to be, scopes, and arguments that rules read.

What decides is the endpoint's authorizer; here is only what the path waits for. Arguments that were judged are sent on
as they were judged, so that no server can read them in another way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar, cast

from msgspec import Raw

from tidegate.access.authorize import Undecided
from tidegate.domain.errors import Denied, InsufficientScope, InvalidParams, ParseFailure
from tidegate.domain.target import Kind, Target, reaching
from tidegate.gateway import spelling
from tidegate.gateway.call import Call
from tidegate.protocol.codec import Object, decode_value, encode

if TYPE_CHECKING:
    from tidegate.gateway.routes import Route, Routes

_TRIES = 4
"""Times that engines are asked for one thing: what was decided may be let go of meanwhile."""
_NULL = Raw(b"null")
_Made = TypeVar("_Made")
_Json = dict[str, object]


async def made(make: Callable[[], _Made]) -> _Made:
    """Make something of what is decided, having it decided first where it is not.

    Raises:
        Denied: it comes to no decision, since policies keep changing.
    """
    for _ in range(_TRIES):
        try:
            return make()
        except Undecided as undecided:
            await undecided.settled()
    try:
        return make()
    except Undecided as error:
        raise Denied("it cannot be decided now whether this is allowed: try again") from error


async def found(routes: Routes, call: Call) -> Route:
    """Find the route of a call, asking engines where they have to be asked.

    Raises:
        Refusal: what `Routes.find` raises.
    """
    return await made(lambda: routes.find(call))


async def again(routes: Routes, call: Call, route: Route) -> None:
    """Decide again about a call that had to wait, and judge it anew.

    Raises:
        Refusal: it may not go out any more.
    """
    route.decision = (await found(routes, call)).decision
    await judged(call, route)


async def judged(call: Call, route: Route) -> None:
    """See that a call's token is for it, and its arguments are allowed, where anything reads them.

    Raises:
        InsufficientScope: the token was not issued for this.
        Denied: its arguments are not allowed.
        InvalidParams: they are no arguments, or could be read as others.
    """
    check_scopes(call, route.entry.target)
    if not route.decision.arguments or route.handle is not None:
        return  # a task was judged when it was made
    arguments, params = _read(call, route)
    spelling.check(arguments, route.entry.encoded)
    target = route.entry.target
    decision = await call.endpoint.authorizer.judge(call.principal, target, arguments)
    if not decision.allowed:
        raise Denied("this is not allowed with these arguments", target=target, decision=decision)
    route.decision = decision
    if params:
        route.params = {**route.params, **params}
        if route.asked is None:
            route.asked = route.recorded
        route.recorded = bytes(params.get(_RECORDED.get(call.method, ""), b"")) or encode(route.params)


def check_scopes(call: Call, target: Target) -> None:
    """See that a call's token was issued for a target, where tokens of its kind are issued for something.

    Raises:
        InsufficientScope: it was not.
    """
    missing = missing_scopes(call, target)
    if missing:
        names = ", ".join(sorted(missing))
        held = (call.vouched and call.vouched.scopes) or frozenset[str]()
        raise InsufficientScope(f"the token lacks a scope for this: {names}", missing | held, target=target)


def missing_scopes(call: Call, target: Target) -> frozenset[str]:
    """Give the scopes that a call's token lacks for a target."""
    vouched = call.vouched
    if vouched is None or vouched.scopes is None:
        return frozenset()
    return call.endpoint.authorizer.missing_scopes(target, vouched.scopes)


def check_still(call: Call) -> None:
    """See that the principal of a call under way may still have what it is for.

    Raises:
        Denied: it may not.
        Undecided: that has to be decided first.
    """
    target = call.target
    if target is None:
        return
    decision = call.endpoint.authorizer.decide(call.principal, target)
    if not decision.allowed:
        raise Denied("this is allowed no more", target=target, decision=decision)


async def know(call: Call, targets: Iterable[Target]) -> None:
    """Have it decided which of these a call's principal may have, where engines have to be asked."""
    authorizer = call.endpoint.authorizer
    if authorizer.asks:
        await authorizer.know(call.principal, list(dict.fromkeys(targets)))


async def reach(call: Call) -> None:
    """Have it decided which of an endpoint's servers a principal may know of."""
    await know(call, map(reaching, call.endpoint.spec.servers))


_RECORDED = {"tools/call": "arguments", "prompts/get": "arguments", "completion/complete": "argument"}
"""What of the parameters the record keeps a digest of; of an extension's methods it is all."""


def _read(call: Call, route: Route) -> tuple[_Json, Object]:
    """Give what is judged, and the parameters that say just that."""
    params = route.params
    if route.entry.target.kind is Kind.EXTENSION:
        whole = {name: _value(value) for name, value in params.items()}
        return whole, {name: Raw(encode(value)) for name, value in whole.items()}
    if call.method != "completion/complete":
        arguments = _object(params.get("arguments", _NULL), "arguments")
        return arguments, {"arguments": Raw(encode(arguments))}
    argument = _object(params.get("argument", _NULL), "argument")
    context = _object(params.get("context", _NULL), "context")
    given = context.get("arguments")
    arguments = dict(cast("_Json", given)) if isinstance(given, dict) else {}
    name = argument.get("name")
    if not isinstance(name, str):
        raise InvalidParams("argument.name must be a string")
    arguments[name] = argument.get("value")
    told: Object = {"argument": Raw(encode(argument))}
    if "context" in params:
        told["context"] = Raw(encode(context))
    return arguments, told


def _object(data: Raw, name: str) -> _Json:
    value = _value(data)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidParams(f"{name} must be an object")
    return cast("_Json", value)


def _value(data: Raw) -> object:
    try:
        return decode_value(data)
    except ParseFailure as error:
        raise InvalidParams(f"the arguments cannot be read: {error}") from error
