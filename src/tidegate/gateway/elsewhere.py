"""Parked calls of other gateways: a retry that came here goes on with a call that is held open there.

The retry has passed the whole path of a call here, its record included; only the answers go to the gateway
that holds the call, and what came of it comes back. A call at a gateway that is gone is lost, and said to be.
"""

from __future__ import annotations

import asyncio

import msgspec
from msgspec import Raw, Struct

from tidegate.channels.channel import Reply
from tidegate.domain.errors import (
    CallFailed,
    ChannelFailure,
    ChannelTimeout,
    GatewayUnreachable,
    Overloaded,
    Refusal,
    StateError,
    StateInvalid,
)
from tidegate.gateway.call import Call
from tidegate.gateway.mail import Mail
from tidegate.gateway.parked import Asking, ParkedCalls
from tidegate.protocol.codec import Object

AT_ONE_TIME = 64
"""Calls held here that are gone on with from elsewhere. Each is a letter that is being worked on for as long as its
server takes, and far fewer than of those there may be (`mail`): what is quick has its room."""
_RESUME, _DROP = "parked/resume", "parked/drop"
_GONE = "the call that waited for this input is over: start it again"
_BUSY = "too many calls are gone on with at the gateway that holds this one; send it again"


class _Retry(Struct, array_like=True, frozen=True):
    name: str
    principal: str
    answers: dict[str, bytes]


class _Came(Struct, array_like=True, frozen=True):
    """What came of it: one of the four."""

    result: bytes | None = None
    error: bytes | None = None
    asking: bytes | None = None
    gone: bool = False
    failure: str = ""
    timeout: bool = False
    busy: bool = False
    """Whether the failure is that nothing was done, as too many are gone on with."""


class Elsewhere:
    """Goes on with parked calls of other gateways, and lets them go on with those that are held here."""

    def __init__(self, parked: ParkedCalls, mail: Mail) -> None:
        self._parked = parked
        self._mail = mail
        self._going_on: dict[tuple[str, str], asyncio.Task[object]] = {}
        """What goes on with calls held here, by name and principal."""
        mail.on(_RESUME, self._take)
        mail.on(_DROP, self._end)

    def holds(self, name: str) -> str | None:
        """Give the gateway that holds a call, where it is another one."""
        boot = name.partition("-")[0]
        return None if boot == self._mail.boot else boot

    async def resume(self, call: Call, name: str, answers: Object, timeout: float) -> Reply | Asking:
        """Go on with a call that another gateway holds.

        Raises:
            StateInvalid: there is no such call, any more.
            ChannelFailure: its server did not answer.
            CallFailed: the other gateway did not say what came of it.
            Overloaded: it goes on with as many as it may already; this one waits still, for the same answers.
        """
        given = {key: bytes(value) for key, value in answers.items()}
        letter = msgspec.msgpack.encode(_Retry(name, call.principal.key, given))
        boot = name.partition("-")[0]
        try:
            if not await self._mail.alive(boot):
                raise StateInvalid(_GONE)
            came = msgspec.msgpack.decode(
                await self._mail.request(boot, _RESUME, letter, timeout), type=_Came
            )
        except asyncio.CancelledError:
            self._mail.post(boot, _DROP, msgspec.msgpack.encode((name, call.principal.key)))
            raise
        except (GatewayUnreachable, StateError) as error:
            raise CallFailed(f"{error}; the outcome of the call is unknown") from error
        if came.gone:
            raise StateInvalid(_GONE)
        if came.busy:
            raise Overloaded(came.failure)
        if came.failure:
            raise (ChannelTimeout if came.timeout else ChannelFailure)(came.failure)
        if came.asking is not None:
            return Asking(Raw(came.asking))
        return Reply(_raw(came.result), _raw(came.error))

    async def _take(self, sender: str, letter: bytes) -> bytes:
        """Go on with a call that is held here, for a client that came to another gateway."""
        retry = msgspec.msgpack.decode(letter, type=_Retry)
        return msgspec.msgpack.encode(await self._go_on(retry))

    async def _end(self, sender: str, letter: bytes) -> bytes:
        """End a call whose client went away from the gateway that it came to, as if it had come here."""
        task = self._going_on.get(msgspec.msgpack.decode(letter, type=tuple[str, str]))
        if task is not None:
            task.cancel()
        return b""

    async def _go_on(self, retry: _Retry) -> _Came:
        task, whose = asyncio.current_task(), (retry.name, retry.principal)
        try:
            held = self._parked.find(retry.name)
            if held.call.principal.key != retry.principal or held.patience is None:
                return _Came(gone=True)
            if task is None or len(self._going_on) >= AT_ONE_TIME:
                return _Came(failure=_BUSY, busy=True)
            held.call.notify = None  # the request that it belonged to is over, and the next one is not here
            answers = {key: Raw(value) for key, value in retry.answers.items()}
            self._going_on[whose] = task
            try:
                reply = await self._parked.resume(held.call, held, answers, held.patience)
            finally:
                del self._going_on[whose]
        except asyncio.CancelledError:
            if task is None or task.cancelling():
                raise
            return _Came(failure="the call was ended")  # the call itself, by this gateway that stops
        except StateInvalid:
            return _Came(gone=True)
        except (ChannelFailure, Refusal) as error:
            return _Came(failure=str(error), timeout=isinstance(error, ChannelTimeout))
        if isinstance(reply, Asking):
            return _Came(asking=bytes(reply.result))
        return _Came(_bytes(reply.result), _bytes(reply.error))


def _raw(data: bytes | None) -> Raw | None:
    return None if data is None else Raw(data)


def _bytes(data: Raw | None) -> bytes | None:
    return None if data is None else bytes(data)
