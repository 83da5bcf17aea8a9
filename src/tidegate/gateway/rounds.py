"""Rounds: what a modern server asks for in its results, brought to clients of both eras.

A modern client is asked in the result, with a sealed state, and comes again. For a legacy client the
gateway drives the rounds: it asks on the client's stream and retries the call itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from msgspec import Raw, Struct

from tidegate.channels.channel import Reply
from tidegate.domain.errors import CallFailed, StateInvalid, UpstreamProtocolError
from tidegate.gateway.call import Call
from tidegate.gateway.inquiries import Inquiries, dressed
from tidegate.gateway.routes import Route
from tidegate.gateway.seal import Seal, SealBroken
from tidegate.protocol import rounds
from tidegate.protocol.bridge import ResultKind
from tidegate.protocol.codec import Object, decode_text, encode
from tidegate.protocol.rounds import Wanted

ASKING = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Methods whose answer may ask for input (2026-07-28, basic/patterns/mrtr)."""
_MOST = 16
"""Rounds of one call that are driven for a legacy client."""
_PARKED, _RELAYED, _AGAIN = "p", "r", "a"
_WORD = "tg1"

Retry = Callable[[Object], Awaitable[Reply]]
"""Sends the call again with further params."""


class State(Struct):
    """What a retry brought back, opened."""

    kind: str
    value: str

    @property
    def parked(self) -> bool:
        """Whether a call of the gateway's own waits for it."""
        return self.kind == _PARKED

    def unwrap(self, route: Route) -> None:
        """Give a server its own state back."""
        if self.kind == _RELAYED:
            route.params = {**route.params, "requestState": Raw(encode(self.value))}
        else:
            route.params = {
                k: v for k, v in route.params.items() if k not in ("requestState", "inputResponses")
            }


class Rounds:
    """Seals, opens and drives rounds."""

    def __init__(self, seal: Seal, inquiries: Inquiries) -> None:
        self._seal = seal
        self._inquiries = inquiries

    def open(self, call: Call, route: Route, lifetime: float) -> State:
        """Open the state that a request brings.

        Raises:
            StateInvalid: it is not ours, too old, or of another principal or request.
        """
        text = decode_text(call.params.get("requestState")) or ""
        word, _, rest = text.partition(".")
        try:
            if word[:-1] != _WORD or word[-1] not in (_PARKED, _RELAYED, _AGAIN):
                raise SealBroken("not sealed here")
            value = self._seal.open(word, rest, bound=_bound(call, route), lifetime=lifetime)
        except (SealBroken, IndexError) as error:
            raise StateInvalid("requestState is not valid for this request: start it again") from error
        return State(word[-1], value.decode())

    def park(self, call: Call, route: Route) -> Callable[[str], str]:
        """Give what seals the name of a parked call."""
        return lambda name: self._sealed(call, route, _PARKED, name)

    def relay(self, call: Call, route: Route, fields: Object) -> Raw:
        """Give a modern server's questions as a modern client gets them: checked, recorded, its state sealed.

        Raises:
            MissingCapability: it asks for what the client did not declare.
            UpstreamProtocolError: it may not ask here, or not so.
        """
        wanted = self._read(call, fields)
        for each in wanted.values():
            self._inquiries.admit(call, route.server, each.method, each.params)
            each.params = dressed(route.server, each.params)
        state = decode_text(fields.get("requestState"))
        sealed = None if state is None else self._sealed(call, route, _RELAYED, state)
        return rounds.ask(wanted, sealed, fields)

    def visit(self, call: Call, route: Route, error: Raw) -> Raw | None:
        """Give the questions for which an error of 2025-11-25 stands (-32042), or None where it is another.

        Raises:
            MissingCapability: the client does not open URLs.
        """
        wanted = rounds.visits(error)
        for each in wanted.values():
            self._inquiries.admit(call, route.server, each.method, each.params)
        return rounds.ask(wanted, self._sealed(call, route, _AGAIN, "")) if wanted else None

    async def drive(self, call: Call, route: Route, reply: Reply, retry: Retry, timeout: float) -> Reply:
        """Ask a legacy client what a modern server asks for, and retry until it is content.

        Raises:
            Refusal: the client cannot be asked, did not declare it, or will not answer.
            UpstreamProtocolError: the server does not come to an end.
        """
        for _ in range(_MOST):
            kind = None if reply.result is None else ResultKind(reply.result)
            if kind is None or kind.type != "input_required":
                return reply
            fields = kind.fields or {}
            wanted = self._read(call, fields)
            answers = await self._ask_all(call, route.server, wanted, timeout)
            more: Object = {"inputResponses": Raw(encode(answers))} if answers else {}
            if "requestState" in fields:
                more["requestState"] = fields["requestState"]
            reply = await retry(more)
        raise UpstreamProtocolError(f"the server asked for input more than {_MOST} times")

    async def _ask_all(self, call: Call, server: str, wanted: dict[str, Wanted], timeout: float) -> Object:
        async def ask(key: str, each: Wanted) -> tuple[str, Raw]:
            params = each.params
            if decode_text(params.get("mode")) == "url" and "elicitationId" not in params:
                params = {**params, "elicitationId": Raw(encode(f"{call.id}-{key}"[:128]))}
            reply = await self._inquiries.put(call, server, each.method, params, timeout)
            if reply.result is None:
                raise CallFailed(f"server {server} needs input, and the client refused to give it")
            return key, reply.result

        tasks = [asyncio.create_task(ask(key, each)) for key, each in wanted.items()]
        try:
            return dict([await task for task in tasks])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _read(self, call: Call, fields: Object) -> dict[str, Wanted]:
        if call.method not in ASKING:
            raise UpstreamProtocolError(f"the server asks for input in answer to {call.method[:40]}")
        return rounds.read(fields)

    def _sealed(self, call: Call, route: Route, kind: str, value: str) -> str:
        word = _WORD + kind
        return f"{word}.{self._seal.seal(word, value.encode(), bound=_bound(call, route))}"


def _bound(call: Call, route: Route) -> str:
    """Say whom and what a state is for: the principal, the place, and the request it came from."""
    asked = route.recorded if route.asked is None else route.asked
    digest = hashlib.blake2b(asked, digest_size=16).hexdigest()
    target = route.entry.target
    return "\0".join(
        (call.principal.key, call.endpoint.path, call.method, target.server, target.name, digest)
    )
