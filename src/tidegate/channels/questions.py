"""Questions: what a legacy server asks of a client, until it is answered. No transport.

It finds whose question it is, bounds how many are open, puts off the deadlines of the calls that wait for it,
and lets an answer go back once. It asks nobody itself: that is what `Asked` is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Raw

from tidegate.channels.askers import Askers, Flying
from tidegate.channels.channel import Asked, ChannelEvents, Reply
from tidegate.channels.deadlines import LONGEST_PAUSE, Pauses
from tidegate.protocol.capabilities import QUESTIONS
from tidegate.protocol.codec import Object, encode, encode_error, encode_result, error_object

_MOST = 64
"""Questions of a server that may be open at once."""
_MOST_BYTES = 8 * 1024 * 1024
"""Their parameters together."""
_CANCELLED = "notifications/cancelled"


class Question:
    """One open question. Called, it answers: that is its `Answer`."""

    __slots__ = ("asked", "call", "ident", "of", "pauses", "since", "size")

    def __init__(self, of: Questions, ident: bytes, asked: Asked, size: int, now: float) -> None:
        self.of = of
        self.ident = ident
        self.asked = asked
        self.size = size
        self.since = now
        self.pauses: list[Pauses] = []
        """Of the calls that wait while it is open."""
        self.call: Flying | None = None
        """The call on whose own stream it came."""

    def __call__(self, reply: Reply) -> None:
        """Answer. All but the first answer is dropped."""
        if self.of.end(self):
            self.of.say(_encode_reply(self.ident, reply))


class Questions:
    """The open questions of one server, on one channel.

    `say` sends a whole message, best effort; `flying` gives the requests in flight; `now` gives seconds.
    """

    def __init__(
        self,
        events: ChannelEvents,
        askers: Askers,
        say: Callable[[bytes], bool],
        flying: Callable[[], Iterable[Flying]],
        now: Callable[[], float],
    ) -> None:
        self.say = say
        self.allowed = False
        """Whether the server may ask at all: a legacy one, after its handshake."""
        self.contended = 0
        """How many were refused since they could have been for more than one holder."""
        self._events = events
        self._askers = askers
        self._flying = flying
        self._now = now
        self._open: dict[bytes, Question] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, ident: bytes) -> bool:
        return ident in self._open

    def ask(self, ident: bytes, method: str, params: Object, belongs: Flying | None) -> bytes | None:
        """Put a question to whom it is for: `belongs`, on whose stream it came, or the only one it can be.

        Gives the error to refuse it with; None where it was taken.
        """
        offered = method in QUESTIONS and self.allowed
        if offered and belongs is not None:
            asked, waiting = belongs.outbound.asked, [belongs]
        elif offered:
            found = self._askers.candidates()
            if len(found) > 1 and any(party.asked for party in found):
                self.contended += 1
                if all(party.holder for party in found):  # else it is over by itself, and soon
                    self._events.channel_contended()
                return error_object(-32603, f"{method} could be for more than one client, and is put to none")
            asked = found[0].asked if len(found) == 1 else None
            waiting = [each for each in self._flying() if found and each.outbound.holder == found[0].holder]
        else:
            asked, waiting = None, []
        if asked is None:
            return _not_offered(method)
        size = sum(len(value) for value in params.values())
        self._forget_old()
        if len(self._open) >= _MOST or self._size + size > _MOST_BYTES:
            return error_object(-32603, f"{len(self._open)} requests are open already: {method} is refused")
        question = Question(self, ident, asked, size, self._now())
        question.call = belongs
        self._open[ident] = question
        self._size += size
        if not asked(method, params, question):
            self.end(question)
            return _not_offered(method)
        if ident in self._open:
            self._pause(question, waiting)
        return None

    def end(self, question: Question) -> bool:
        """Wait no longer for an answer. Tell whether it was waited for."""
        if self._open.get(question.ident) is not question:
            return False
        del self._open[question.ident]
        self._size -= question.size
        now = self._now()
        for pauses in question.pauses:
            pauses.end(now)
        return True

    def cancelled(self, params: Object) -> bool:
        """Take a server's `notifications/cancelled`. Tell whether it was for an open question."""
        question = self._open.get(bytes(params.get("requestId", b"")))
        if question is None:
            return False
        self._give_up(question, params)
        return True

    def drop(self, call: Flying) -> None:
        """Give up what came on a call's own stream, now that the call has ended."""
        for question in [each for each in self._open.values() if each.call is call]:
            self._give_up(question, _reason(question, "the call it was for has ended"))

    def close(self, reason: str) -> None:
        """Give up all of them: the server is gone."""
        for question in list(self._open.values()):
            self._give_up(question, _reason(question, reason))

    def _give_up(self, question: Question, params: Object) -> None:
        if self.end(question):
            question.asked(_CANCELLED, params, question)

    def _pause(self, question: Question, waiting: Iterable[Flying]) -> None:
        now = self._now()
        for call in waiting:
            if call.pauses is None:
                call.pauses = Pauses()
            call.pauses.begin(now)
            question.pauses.append(call.pauses)

    def _forget_old(self) -> None:
        """Give up what nobody answered within any bound, where room is needed."""
        if len(self._open) < _MOST:
            return
        before = self._now() - LONGEST_PAUSE
        for question in [each for each in self._open.values() if each.since < before]:
            self._give_up(question, _reason(question, "nobody answered"))


def _not_offered(method: str) -> bytes:
    return error_object(-32601, f"{method[:64]} was not offered by this client")


def _reason(question: Question, reason: str) -> Object:
    return {"requestId": Raw(question.ident), "reason": Raw(encode(reason))}


def _encode_reply(ident: bytes, reply: Reply) -> bytes:
    if reply.result is not None:
        return encode_result(ident, reply.result)
    return encode_error(ident, reply.error or error_object(-32603, "no answer"))
