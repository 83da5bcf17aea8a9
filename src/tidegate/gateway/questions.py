"""Questions to legacy clients: requests of ours that wait for a POSTed response. Bounded in number, size and time.

A response counts only from the session that was asked. Whether a question may be asked is not decided here.
"""

from __future__ import annotations

import asyncio
import itertools

import msgspec
from msgspec import Raw, Struct

from tidegate.channels.channel import Reply
from tidegate.domain.errors import ClientUnreachable, Overloaded, StateError
from tidegate.gateway.call import Call
from tidegate.gateway.mail import Mail
from tidegate.gateway.streams import Streams
from tidegate.protocol.codec import (
    Object,
    decode_text,
    encode,
    encode_notification,
    encode_request,
    error_object,
)
from tidegate.telemetry import Metrics

IN_ALL, EACH = 1024, 16
"""Questions that wait for answers: in all, and of one session."""
LARGEST = 1024 * 1024
"""Bytes of a question."""
_ANSWER = "question/answer"
_ID = "tg-"


class _Answer(Struct, array_like=True, frozen=True):
    """A response on its way to the gateway that asked."""

    session: str
    number: str
    result: bytes | None
    error: bytes | None


class _Waiting(Struct):
    session: str
    reply: asyncio.Future[Reply]


class Questions:
    """Asks legacy clients, and takes what they answer."""

    def __init__(self, streams: Streams, boot: str, metrics: Metrics, mail: Mail | None = None) -> None:
        """`boot` names this process; `mail` is the way to the gateways that share the state store."""
        self._streams = streams
        self._boot = boot
        self._metrics = metrics
        self._mail = mail
        self._numbers = itertools.count(1)
        self._waiting: dict[str, _Waiting] = {}
        self._of: dict[str, int] = {}
        """How many wait, by session."""
        if mail is not None:
            mail.on(_ANSWER, self._take)

    @property
    def waiting(self) -> int:
        """How many wait for an answer."""
        return len(self._waiting)

    async def ask(self, call: Call, method: str, params: Object, timeout: float) -> Reply:
        """Ask the client of a call, on the call's own stream, else on its session's.

        Raises:
            ClientUnreachable: it holds no stream, ended its session, or did not answer within `timeout` seconds.
            Overloaded: too many questions wait already.
        """
        session = call.session
        if session is None:
            raise ClientUnreachable("the client has no session in which it could be asked")
        if len(self._waiting) >= IN_ALL or self._of.get(session.key, 0) >= EACH:
            raise Overloaded("too many questions wait for their answers already")
        number = f"{next(self._numbers):x}"
        request_id = encode(f"{_ID}{self._boot}-{number}")
        message = encode_request(request_id, method, params)
        if len(message) > LARGEST:
            raise ClientUnreachable(f"the question has {len(message)} bytes; at most {LARGEST} are sent")
        waiting = _Waiting(session.key, asyncio.get_running_loop().create_future())
        self._waiting[number] = waiting
        self._of[session.key] = self._of.get(session.key, 0) + 1
        try:
            if not self._send(call, session.key, message):
                raise ClientUnreachable(
                    "the client holds no event stream on which it could be asked, or does not read it"
                )
            return await self._reply(call, waiting, request_id, timeout)
        finally:
            del self._waiting[number]
            self._of[session.key] -= 1
            if not self._of[session.key]:
                del self._of[session.key]

    def answered(self, call: Call) -> None:
        """Take a response that a client POSTed. One to nothing that waits is dropped, and counted.

        Raises:
            Overloaded: another gateway asked, and cannot be told now.
        """
        message, session = call.inbound.message, call.session
        boot, _, number = (decode_text(message.id) or "").removeprefix(_ID).partition("-")
        if session is None:
            self._drop()
        elif boot == self._boot:
            self._settle(session.key, number, Reply(message.result, message.error))
        elif self._mail is not None and boot.isalnum() and len(boot) <= 16 and number.isalnum():
            result = None if message.result is None else bytes(message.result)
            error = None if message.error is None else bytes(message.error)
            self._pass_on(boot, _Answer(session.key, number[:16], result, error))
        else:
            self._drop()

    def end_session(self, session: str, principal: str = "") -> None:
        """Wait no longer for answers in a session that was ended."""
        for waiting in self._waiting.values():
            if waiting.session == session and not waiting.reply.done():
                waiting.reply.set_exception(ClientUnreachable("the client ended its session"))

    async def _reply(self, call: Call, waiting: _Waiting, request_id: bytes, timeout: float) -> Reply:
        try:
            async with asyncio.timeout(timeout):
                return await waiting.reply
        except TimeoutError as error:
            self._cancel(call, waiting.session, request_id, "no answer came in time")
            raise ClientUnreachable(f"the client did not answer within {timeout:g} s") from error
        except asyncio.CancelledError:
            self._cancel(call, waiting.session, request_id, "it is wanted no more")
            raise

    def _send(self, call: Call, session: str, message: bytes) -> bool:
        return (call.say is not None and call.say(message)) or self._streams.ask(session, message)

    def _cancel(self, call: Call, session: str, request_id: bytes, why: str) -> None:
        params = {"requestId": Raw(request_id), "reason": Raw(encode(why))}
        self._send(call, session, encode_notification("notifications/cancelled", params))

    def _settle(self, session: str, number: str, reply: Reply) -> None:
        waiting = self._waiting.get(number)
        if waiting is None or waiting.session != session or waiting.reply.done():
            self._drop()
        else:
            waiting.reply.set_result(reply)

    def _drop(self) -> None:
        self._metrics.refusals["unknown_response"] += 1

    def _pass_on(self, boot: str, answer: _Answer) -> None:
        if self._mail is None:
            return
        try:
            passed = self._mail.post(boot, _ANSWER, msgspec.msgpack.encode(answer))
        except StateError as error:  # the one that waits has to hear of it
            text = error_object(-32603, f"the client's answer was not passed on: {error}")
            refused = _Answer(answer.session, answer.number, None, text)
            passed = self._mail.post(boot, _ANSWER, msgspec.msgpack.encode(refused))
        if not passed:
            raise Overloaded("the answer cannot be passed on to the gateway that asked; send it again")

    async def _take(self, sender: str, letter: bytes) -> bytes:
        """Take a response that came to another gateway."""
        answer = msgspec.msgpack.decode(letter, type=_Answer)
        result = None if answer.result is None else Raw(answer.result)
        error = None if answer.error is None else Raw(answer.error)
        self._settle(answer.session, answer.number, Reply(result, error))
        return b""
