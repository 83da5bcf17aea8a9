"""What servers ask of clients: checked, recorded and passed on. The twin of the path of a call.

A question reaches the client whose call made the server ask, or nobody. It asks for nothing that this
client did not declare, and is recorded before it goes out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Raw

from tidegate.access.stops import Stops
from tidegate.audit.journal import Journal
from tidegate.channels.channel import Answer as ServerAnswer
from tidegate.channels.channel import Reply
from tidegate.domain.errors import (
    ClientUnreachable,
    Denied,
    JournalUnavailable,
    MissingCapability,
    ParseFailure,
    Refusal,
    Stopped,
)
from tidegate.domain.principal import Principal
from tidegate.gateway.call import Call
from tidegate.gateway.deciding import check_still, made
from tidegate.gateway.questions import Questions
from tidegate.protocol import capabilities
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import Object, decode_object, encode, error_object
from tidegate.telemetry import Metrics, log

ASKED_BY = "dev.tidegate/server"
"""Key in a question's `_meta`: which server asks, so that a client can say so (client/elicitation, UI)."""
GIVEN_UP = "notifications/cancelled"
"""What is asked with a question's own answer where its server gave it up."""
_AT_ONE_TIME = 8
"""Questions of one call that wait for answers."""
EACH = 256
"""Questions of one call: each is recorded, and a server must not fill the journal."""


def check(call: Call, method: str, params: Object) -> None:
    """See that a client may be asked.

    Raises:
        MissingCapability: it did not declare what the question needs.
    """
    needed = capabilities.needed(method, params)
    missing = needed & ~call.offer
    if method not in capabilities.QUESTIONS or missing:
        data: dict[str, object] | None = None
        if method in capabilities.QUESTIONS:
            data = {"requiredCapabilities": dict(capabilities.required(Offer(needed)))}
        raise MissingCapability(f"the client did not declare what {method[:40]} needs", data=data)


def dressed(server: str, params: Object) -> Object:
    """Give a question's params as the client gets them: with who asks, without what belongs to the hop."""
    meta: Object = {}
    if "_meta" in params:
        try:
            meta = decode_object(params["_meta"])
        except ParseFailure:
            meta = {}
        meta.pop("progressToken", None)
    return {**params, "_meta": Raw(encode({**meta, ASKED_BY: server}))}


class Inquiries:
    """Passes servers' questions to legacy clients, and records all questions."""

    def __init__(
        self, questions: Questions, journal: Journal, metrics: Metrics, stops: Stops | None = None
    ) -> None:
        self._questions = questions
        self._journal = journal
        self._metrics = metrics
        self._stops = stops or Stops()
        self._tasks: dict[asyncio.Task[None], tuple[Call, str, ServerAnswer]] = {}
        """What passes questions on: of which call, of which server, and what the answer goes to."""
        self._open: dict[str, int] = {}
        """How many questions of a call wait, by call id."""

    def admit(self, call: Call, server: str, method: str, params: Object) -> None:
        """Check and record a question before it goes to a client.

        Raises:
            Refusal: it must not.
            JournalUnavailable: it cannot be recorded.
            Undecided: whether the call is still allowed has to be decided first. Nothing is recorded then.
        """
        try:
            check(call, method, params)
            check_still(call)
        except Denied:
            self.record(call, server, method, Denied.reason)
            raise ClientUnreachable("the client cannot be asked now") from None
        except Refusal as refusal:
            self.record(call, server, method, refusal.reason)
            raise
        if self._stops.any and (self._stops.unknown or self._stops.check_server(call.principal, server)):
            self.record(call, server, method, Stopped.reason)
            # Its server learns this: not that, nor why, somebody has stopped it.
            raise ClientUnreachable("the client cannot be asked now")
        self._record(call, server, method, "asked")

    def record(self, call: Call, server: str, method: str, what: str) -> None:
        """Record what became of a question. Never raises: it has come about already."""
        try:
            self._record(call, server, method, what)
        except JournalUnavailable as error:
            log().error("journal.unavailable", reason=str(error))

    def _record(self, call: Call, server: str, method: str, what: str) -> None:
        known = method if method in capabilities.QUESTIONS else "other"  # servers make up methods
        self._metrics.questions[server, known, what] += 1
        fields: dict[str, object] = {
            "call": call.id, "endpoint": call.endpoint.path, "server": server, "method": method[:60], "event": what,
        }  # fmt: skip
        self._journal.question(call.principal, fields)

    async def put(self, call: Call, server: str, method: str, params: Object, timeout: float) -> Reply:
        """Ask a legacy client, and give what it answers.

        Raises:
            Refusal: it may not be asked, cannot be reached, or did not answer within `timeout` seconds.
            JournalUnavailable: it cannot be recorded.
        """
        await made(lambda: self.admit(call, server, method, params))
        try:
            reply = await self._questions.ask(call, method, dressed(server, params), timeout)
        except Refusal as refusal:
            self.record(call, server, method, refusal.reason)
            raise
        self.record(call, server, method, "answered" if reply.result is not None else "declined")
        return reply

    def asked_by(
        self, call: Call, server: str, timeout: float
    ) -> Callable[[str, Object, ServerAnswer], bool]:
        """Give what takes a legacy server's questions while it works on a legacy client's call."""
        left = EACH

        def asked(method: str, params: Object, answer: ServerAnswer) -> bool:
            nonlocal left
            if method == GIVEN_UP:
                self._give_up(answer)
                return True
            if method not in capabilities.QUESTIONS or self._open.get(call.id, 0) >= _AT_ONE_TIME or not left:
                return False
            left -= 1
            self._open[call.id] = self._open.get(call.id, 0) + 1
            work = self._pass_on(call, server, (method, params, answer), timeout)
            task = asyncio.create_task(work, name=f"question of {server}")
            self._tasks[task] = call, server, answer
            task.add_done_callback(over)  # not in the task: one that is cancelled at once never begins
            return True

        def over(task: asyncio.Task[None]) -> None:
            del self._tasks[task]
            self._open[call.id] -= 1
            if not self._open[call.id]:
                del self._open[call.id]

        return asked

    def _give_up(self, answer: ServerAnswer) -> None:
        """Stop asking what its server wants to know no more; the client is told so."""
        for task, (_, _, wanted) in self._tasks.items():
            if wanted is answer:
                task.cancel()

    def end(self, concerned: Callable[[Principal, str], object]) -> None:
        """Stop asking what a stop concerns, and what belongs to a call that one ended."""
        for task, (call, server, _) in self._tasks.items():
            if call.ended is not None or concerned(call.principal, server):
                task.cancel()

    async def _pass_on(
        self, call: Call, server: str, question: tuple[str, Object, ServerAnswer], timeout: float
    ) -> None:
        method, params, answer = question
        reply = Reply(None, Raw(error_object(-32603, "the question could not be passed on")))
        try:
            reply = await self.put(call, server, method, params, timeout)
        except Refusal as refusal:
            reply = Reply(None, Raw(error_object(refusal.code, str(refusal), refusal.data)))
        except JournalUnavailable as error:
            log().error("journal.unavailable", reason=str(error))
        finally:
            answer(reply)

    async def close(self) -> None:
        """Pass nothing on any more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
