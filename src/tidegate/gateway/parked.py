"""Parked calls: a legacy server asks in the midst of a modern client's call, and waits for the retry.

The call at the server stays open; the client gets `input_required` with a sealed state that names it. The
retry passes the whole path of a call again and then goes on with it. Bounded in number and time, and
counted as calls under way (2026-07-28, basic/patterns/mrtr).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial

from msgspec import Raw, Struct

from tidegate.access.authorize import Undecided
from tidegate.access.limits import CallLimits
from tidegate.access.quotas import leave
from tidegate.access.rates import AtOnce
from tidegate.channels.channel import Answer as ServerAnswer
from tidegate.channels.channel import Asked, Reply
from tidegate.domain.errors import JournalUnavailable, Overloaded, Refusal, StateError, StateInvalid
from tidegate.domain.principal import Principal
from tidegate.domain.target import Target
from tidegate.fleet.pool import Lease
from tidegate.gateway.call import Call
from tidegate.gateway.deciding import made
from tidegate.gateway.inquiries import EACH as QUESTIONS
from tidegate.gateway.inquiries import GIVEN_UP, Inquiries, dressed
from tidegate.protocol.codec import Object, error_object
from tidegate.protocol.rounds import MOST, Wanted, ask
from tidegate.telemetry import log

IN_ALL, EACH = 1024, 16
"""Most parked calls there may be, and of one principal."""

Seal = Callable[[str], str]
"""Seals what names a parked call and its round, for its client."""


class Patience(Struct, frozen=True):
    """How a call is parked."""

    seal: Seal
    seconds: float
    """How long its client may take to come back."""


class Asking(Struct, frozen=True):
    """What a client gets whose call is parked: a result that asks for input."""

    result: Raw


class _Question(Struct):
    wanted: Wanted
    answer: ServerAnswer
    admitted: bool = True
    """Whether it was checked and recorded; what is not yet is no client told."""


class Held:
    """An upstream call that may outlive the requests it belongs to."""

    def __init__(
        self, name: str, call: Call, lease: Lease, inquiries: Inquiries, target: Target | None
    ) -> None:
        self.name = name
        self.target = target
        """What it is for."""
        self.call = call
        """The request that waits for it now, or did last."""
        self.first = call
        """The request that it was made for, which it is made by again where it has to be."""
        self.server = lease.workload.spec.name
        self.lease = lease
        self.round = 0
        self.busy = True
        """Whether a request waits for it now."""
        self.over = False
        self.kept = False
        """Whether it has been parked once: it then holds its own place among the calls under way."""
        self.counted: Sequence[AtOnce] = ()
        """Where it counts as under way by quotas: what was the call's that it was parked for."""
        self.questions: dict[str, _Question] = {}
        self.changed = asyncio.Event()
        self.task: asyncio.Task[Reply] | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.patience: Patience | None = None
        """How it was parked the last time."""
        self._count = 0
        self._inquiries = inquiries

    def asked(self, method: str, params: Object, answer: ServerAnswer) -> bool:
        """Take a question of the server, or that it gave one up."""
        if method == GIVEN_UP:
            self.questions = {key: each for key, each in self.questions.items() if each.answer is not answer}
            return True
        if len(self.questions) >= MOST or self.over or (self.task is not None and self.task.done()):
            return False
        if self._count >= QUESTIONS:
            return False
        self._count += 1
        admitted = True
        try:
            self._inquiries.admit(self.call, self.server, method, params)
        except Undecided:
            admitted = False
        except (Refusal, JournalUnavailable) as error:
            log().warning("question.refused", server=self.server, reason=str(error))
            return False
        key = f"{method.partition('/')[0]}-{self._count}"
        self.questions[key] = _Question(Wanted(method, dressed(self.server, params)), answer, admitted)
        self.changed.set()
        return True

    async def admit(self) -> None:
        """Check and record what could not be at once, and have no client told what it may not be."""
        for key, question in [each for each in self.questions.items() if not each[1].admitted]:
            wanted = question.wanted
            try:
                await made(
                    partial(self._inquiries.admit, self.call, self.server, wanted.method, wanted.params)
                )
                question.admitted = True
            except (Refusal, JournalUnavailable) as error:
                log().warning("question.refused", server=self.server, reason=str(error))
                if self.questions.pop(key, None) is not None:
                    question.answer(Reply(None, Raw(error_object(-32603, "the question was not passed on"))))

    def hear(self, method: str, params: Object) -> None:
        """Pass a notification to the request that waits now."""
        if self.busy:
            self.call.hear(method, params)


class ParkedCalls:
    """Keeps the upstream calls whose clients were asked something."""

    def __init__(self, limits: CallLimits, inquiries: Inquiries, new_id: Callable[[], str]) -> None:
        self._limits = limits
        self._inquiries = inquiries
        self._new_id = new_id
        self._held: dict[str, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, call: Call, lease: Lease, target: Target | None = None) -> Held:
        """Make what holds a call that its server may ask in; `begin` follows."""
        return Held(self._new_id(), call, lease, self._inquiries, target)

    def find(self, name: str) -> Held:
        """Give the parked call of a name and round that were sealed.

        Raises:
            StateInvalid: there is none, any more, or another request goes on with it already.
        """
        name, _, round_ = name.rpartition(".")
        held = self._held.get(name)
        if held is None or held.busy or str(held.round) != round_:
            raise StateInvalid("the call that waited for this input is over: start it again")
        return held

    async def begin(
        self, held: Held, work: Callable[[Asked], Coroutine[object, object, Reply]], patience: Patience
    ) -> Reply | Asking:
        """Do the upstream call. Give its reply, or the result that asks the client for input.

        Raises:
            ChannelFailure: what the work raises.
            Overloaded: as many calls are parked as may be.
        """
        held.task = asyncio.create_task(work(held.asked), name=f"held call {held.name}")
        held.task.add_done_callback(lambda _: held.changed.set())
        return await self._next(held, patience)

    async def resume(self, call: Call, held: Held, answers: Object, patience: Patience) -> Reply | Asking:
        """Go on with a parked call that was found just now.

        Raises:
            StateInvalid: it ended, or another request goes on with it.
            ChannelFailure: what the work raises.
        """
        if held.busy or held.name not in self._held:
            raise StateInvalid("the call that waited for this input is over: start it again")
        if held.expiry is not None:
            held.expiry.cancel()
        if held.call is not held.first:
            _let_go(held.call)
        held.busy, held.call = True, call
        held.changed.clear()
        given = [key for key in held.questions if key in answers]
        for key in given:
            question = held.questions.pop(key)
            self._inquiries.record(call, held.server, question.wanted.method, "answered")
            question.answer(Reply(answers[key], None))
        if held.questions or (held.task is not None and held.task.done()):
            held.changed.set()  # what is missing is asked again (mrtr, error handling)
        return await self._next(held, patience)

    async def _next(self, held: Held, patience: Patience) -> Reply | Asking:
        task = held.task
        if task is None:
            raise RuntimeError("a call was waited for that was not begun")
        try:
            await held.changed.wait()
            await held.admit()
            while not held.questions and not task.done():
                held.changed.clear()
                await held.changed.wait()
                await held.admit()
        except asyncio.CancelledError:
            await self._drop(held)
            raise
        if task.done():
            self._forget(held)
            return task.result()
        try:
            self._keep(held)
        except Overloaded:
            await self._drop(held)
            raise
        held.changed.clear()
        held.busy, held.patience = False, patience
        held.call.parked = True
        held.round += 1
        held.expiry = asyncio.get_running_loop().call_later(patience.seconds, self._expire, held)
        wanted = {key: question.wanted for key, question in held.questions.items()}
        return Asking(ask(wanted, patience.seal(f"{held.name}.{held.round}")))

    def _keep(self, held: Held) -> None:
        if held.kept:
            return
        principal = held.call.principal
        mine = sum(1 for each in self._held.values() if each.call.principal.key == principal.key)
        if len(self._held) >= IN_ALL or mine >= EACH:
            raise Overloaded("as many calls wait for input already as may")
        self._limits.enter(principal)
        held.kept = held.call.held = True
        held.counted, held.call.counted = held.call.counted, ()
        self._held[held.name] = held

    def _forget(self, held: Held) -> None:
        """Let go of a call that is over. Idempotent."""
        if held.expiry is not None:
            held.expiry.cancel()
        if self._held.pop(held.name, None) is not None:
            self._limits.leave(held.call.principal)
            leave(held.counted)
            held.lease.release()
        questions, held.questions = held.questions, {}
        for question in questions.values():
            self._inquiries.record(held.call, held.server, question.wanted.method, "dropped")
            question.answer(Reply(None, Raw(error_object(-32603, "the client gave no answer"))))
        # What takes the server's late words may know it for long yet.
        held.over, held.patience, held.task = True, None, None
        _let_go(held.first)
        _let_go(held.call)

    async def _drop(self, held: Held) -> None:
        try:
            if held.task is not None:
                held.task.add_done_callback(_looked_at)
                held.task.cancel()
                await asyncio.wait([held.task])
        finally:
            self._forget(held)  # also where this is cancelled in its turn

    def _expire(self, held: Held) -> None:
        """End a call whose client did not come back in time."""
        log().info("call.expired", server=held.server, call=held.call.id)
        self._end(held)

    def end(self, concerned: Callable[[Principal, Target | None], object]) -> None:
        """End those that a stop concerns: their servers are told, and nobody goes on with them."""
        for held in list(self._held.values()):
            if not concerned(held.call.principal, held.target):
                continue
            if not held.busy:
                self._end(held)
            elif held.task is not None:  # what goes on with it, here or elsewhere, then lets go of it
                held.task.cancel()

    def waiting(self) -> list[Held]:
        """Give those that wait for their clients."""
        return [each for each in self._held.values() if not each.busy]

    async def look_at(self, held: Held, may: Callable[[Call], Awaitable[None]]) -> None:
        """End one that nobody may go on with any more: `may` raises a `Refusal` then."""
        try:
            await may(held.call)
        except (Refusal, StateError) as error:
            if not held.busy and held.name in self._held:
                log().info("call.expired", server=held.server, call=held.call.id, reason=str(error))
                self._end(held)

    def _end(self, held: Held) -> None:
        held.busy = True
        if held.task is not None:
            held.task.add_done_callback(_looked_at)
            held.task.cancel()
        self._forget(held)

    async def close(self) -> None:
        """End every parked call."""
        for held in list(self._held.values()):
            await self._drop(held)


def _let_go(call: Call) -> None:
    """Let go of what a parked call's request sent. One that has no answer yet is its pipeline's matter."""
    if call.parked:
        call.parked = False
        call.let_go()


def _looked_at(task: asyncio.Task[Reply]) -> None:
    """Take what came of a call that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
