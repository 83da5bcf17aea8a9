"""The path of a call. The order of `handle` is a security property: it is written, not configured."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.access.authenticate import Authenticator
from tidegate.access.authorize import Undecided
from tidegate.access.limits import CallLimits
from tidegate.access.quotas import leave
from tidegate.access.stops import Stops
from tidegate.audit.journal import Journal
from tidegate.domain.errors import (
    Draining,
    InvalidRequest,
    JournalRefused,
    JournalUnavailable,
    LimitExceeded,
    Refusal,
    ServerUnavailable,
    SessionMissing,
    StateError,
    StateRefused,
    Stopped,
)
from tidegate.domain.principal import Principal
from tidegate.gateway import deciding
from tidegate.gateway.call import ACCEPTED, LARGE, Answer, Call, refused
from tidegate.gateway.forward import Forward
from tidegate.gateway.local import LocalAnswers
from tidegate.gateway.questions import Questions
from tidegate.gateway.routes import Route
from tidegate.gateway.running import Running
from tidegate.gateway.sessions import Sessions
from tidegate.gateway.stream import Writer
from tidegate.gateway.streams import Streams
from tidegate.ports.identity import Credentials, Vouched
from tidegate.protocol import revisions
from tidegate.protocol.codec import decode_text
from tidegate.telemetry import Metrics

_ASKED_FOR = frozenset({"resources/subscribe", "resources/unsubscribe", "tasks/list"})
"""What the gateway answers and asks servers for: bounded like calls. `subscriptions/listen` has its own bound."""
_STOPPABLE = _ASKED_FOR | {"subscriptions/listen"}
"""What the gateway answers that a stop ends. Lists, `initialize` and the like reach no server."""


class Pipeline:
    """Takes every call from its bytes to its answer."""

    def __init__(
        self,
        authenticator: Authenticator,
        sessions: Sessions,
        local: LocalAnswers,
        forward: Forward,
        questions: Questions,
        streams: Streams,
        journal: Journal,
        limits: CallLimits,
        metrics: Metrics,
        running: Running,
        stops: Stops,
    ) -> None:
        self.draining = False
        self._stops = stops
        self._authenticator = authenticator
        self._sessions = sessions
        self._local = local
        self._forward = forward
        self._questions = questions
        self._streams = streams
        self._journal = journal
        self._limits = limits
        self._metrics = metrics
        self._running = running
        forward.places.look_again = self.look_again

    async def handle(self, call: Call) -> Answer:
        """Handle a request, notification or response. Every end of it is recorded; only faults of ours raise."""
        try:
            vouched = self._recognise(call) or await self._identify(call)
            if self.draining:
                raise Draining("the gateway is stopping")
            message = call.inbound.message
            if message.id is None or message.method is None:
                return await self._take(call)
            if call.method in self._local.methods:
                return await self._answer(call)
            principal = vouched.principal
            try:
                route = self._forward.routes.find(call)
            except Undecided:
                route = await self._find(call)
            call.target = target = route.entry.target
            if self._stops.any:
                self._stops.admit(principal, target)
            self._limits.enter(principal)
            under_way = self._running.calls
            under_way[call.id] = call
            try:
                if route.decision.arguments or vouched.scopes is not None:
                    await deciding.judged(call, route)
                answer = await self._forward.handle(call, route)
            finally:
                del under_way[call.id]
                self._limits.leave(principal)
                if call.counted:
                    leave(call.counted)
            if call.size >= LARGE:
                call.let_go()
            return answer
        except Refusal as refusal:
            return self.refuse(call, refusal)
        except JournalUnavailable as error:
            return self.refuse(
                call, JournalRefused(f"nothing was done, since it cannot be recorded: {error}")
            )
        except StateError as error:
            return self.refuse(call, StateRefused(f"nothing was done: {error}"))

    async def _answer(self, call: Call) -> Answer:
        """Answer what is no server's to answer. Where servers are asked something for it, it counts as a call."""
        if self._stops.any and call.method in _STOPPABLE:
            self._stops.admit(call.principal)
        if call.method not in _ASKED_FOR:
            return await self._local.answer(call)
        self._limits.enter(call.principal)
        try:
            return await self._local.answer(call)
        finally:
            self._limits.leave(call.principal)

    async def _find(self, call: Call) -> Route:
        """Find the route of a call that engines have to decide about, which counts as a call."""
        self._limits.enter(call.principal)
        try:
            return await deciding.found(self._forward.routes, call)
        finally:
            self._limits.leave(call.principal)

    async def look_again(self, call: Call) -> None:
        """See that a call that had to wait may still go out: credentials, session, and the gateway itself.

        Raises:
            Refusal: it may not.
        """
        await self._identify(call)
        if self.draining:
            raise Draining("the gateway is stopping")
        self._stops.admit(call.principal)
        if call.endpoint.gone:
            raise ServerUnavailable("this endpoint is served no more")

    def refuse(self, call: Call, refusal: Refusal) -> Answer:
        """Give the answer that a refusal is, and record it: the end of a call. Strangers are counted and sampled only."""
        self._metrics.refusals[refusal.reason] += 1
        fields: dict[str, object] = {
            "call": call.id,
            "method": call.method[:60],
            "name": (decode_text(call.params.get("name")) or "")[:128],
            "endpoint": call.endpoint.path,
            "peer": call.credentials.peer,
            "message": str(refusal),
        }
        if isinstance(refusal, Stopped) and refusal.data is not None:
            fields["stop"] = refusal.data["stop"]
        if isinstance(refusal, LimitExceeded) and refusal.data is not None:
            fields["limit"] = limit = str(refusal.data["limit"])
            self._metrics.quota_refusals[limit] += 1
        if refusal.target is not None:
            fields["target"] = refusal.target._asdict()
        if refusal.decision is not None:
            decision = refusal.decision
            fields |= {"rule": decision.rule, "reads": decision.reads, "because": decision.because}
        if call.vouched is None:
            self._journal.stranger(refusal.reason, fields)
        else:
            self._journal.refused(refusal.reason, call.principal, fields)
        answer = refused(refusal, call.id, call.inbound.message.id, modern=call.inbound.modern)
        call.let_go()
        return answer

    def whose(self, credentials: Credentials) -> str | None:
        """Say whose credentials are, where that is known, for sharing fairly among those who ask."""
        return self._authenticator.whose(credentials)

    def seen(self, subject: str) -> Sequence[Vouched]:
        """Give what is vouched for now of those of a name, the latest first."""
        return self._authenticator.seen(subject)

    async def vouch(self, credentials: Credentials) -> Vouched:
        """Vouch for who asks for something that is no call.

        Raises:
            Unauthenticated: nobody does.
            StateError: it cannot be looked up.
        """
        known = self._authenticator.cached(credentials)
        return known or await self._authenticator.authenticate(credentials)

    async def administrator(self, credentials: Credentials) -> Principal | None:
        """Give the administrator whose credentials these are; None where they are nobody's, or of somebody else."""
        try:
            vouched = await self.vouch(credentials)
        except (Refusal, StateError):
            return None
        return vouched.principal if "admin" in vouched.principal.roles else None

    def turn_away(self, path: str, peer: str, refusal: Refusal, vouched: Vouched | None) -> None:
        """Record that a request to the admin API was refused, a stranger's as those of strangers are."""
        self._metrics.refusals[refusal.reason] += 1
        fields = {"path": path[:200], "peer": peer, "message": str(refusal)}
        if vouched is None:
            self._journal.stranger(refusal.reason, fields)
        else:
            self._journal.refused(refusal.reason, vouched.principal, fields)

    def refuse_unread(self, call_id: str, endpoint: str, peer: str, refusal: Refusal) -> None:
        """Record a refusal of what was no request yet."""
        self._metrics.refusals[refusal.reason] += 1
        fields = {"call": call_id, "endpoint": endpoint, "peer": peer, "message": str(refusal)}
        self._journal.stranger(refusal.reason, fields)

    def count_malformed(self, peer: str, reason: str) -> None:
        """Record, as a stranger's, what was no HTTP request."""
        self._metrics.refusals["malformed"] += 1
        self._journal.stranger("malformed", {"peer": peer, "message": reason})

    async def check_batch(self, call: Call) -> Answer | None:
        """See that a client's session has batches, which 2025-03-26 alone has. Give the refusal where not."""
        try:
            await self._identify(call)
            if call.session is None or call.session.revision != revisions.BATCHES:
                raise InvalidRequest("batches are not accepted: send one message")
        except Refusal as refusal:
            return self.refuse(call, refusal)
        except StateError as error:
            return self.refuse(call, StateRefused(f"nothing was done: {error}"))
        return None

    async def open_stream(self, call: Call, writer: Writer, last_event_id: str | None) -> Answer | None:
        """Serve a legacy client's stream (HTTP GET) until it is over. Give the answer where there is none."""
        try:
            await self._identify(call)
            self._stops.admit(call.principal)
            fields = {"call": call.id, "method": "GET", "endpoint": call.endpoint.path}
            self._journal.request(call.principal, fields)
            await self._streams.serve(call, writer, last_event_id)
        except Stopped as refusal:  # with another status it would look like a stream that was opened
            answer = self.refuse(call, refusal)
            return Answer(503, answer.body, answer.headers)
        except Refusal as refusal:
            return self.refuse(call, refusal)
        except (JournalUnavailable, StateError) as error:
            return self.refuse(call, JournalRefused(f"the stream was not opened: {error}"))
        return None

    async def end_session(self, call: Call) -> Answer:
        """End a legacy session (HTTP DELETE)."""
        try:
            await self._identify(call)
            if call.session is None or call.inbound.session is None:
                raise SessionMissing("no Mcp-Session-Id: there is no session to end")
            fields = {"call": call.id, "method": "DELETE", "endpoint": call.endpoint.path}
            self._journal.request(call.principal, fields)
            await self._sessions.end(call.inbound.session, call.session)
            return Answer(200)
        except Refusal as refusal:
            return self.refuse(call, refusal)
        except (JournalUnavailable, StateError) as error:
            return self.refuse(call, JournalRefused(f"the session was not ended: {error}"))

    def _recognise(self, call: Call) -> Vouched | None:
        """Do what `_identify` does where all of it is known from before, which is nearly always."""
        vouched = call.vouched = call.operator or self._authenticator.cached(call.credentials)
        session_id = call.inbound.session
        if vouched is None or session_id is None or call.method == "initialize":
            return vouched
        call.session = self._sessions.cached(session_id, vouched.principal, call.endpoint.path)
        return None if call.session is None else vouched

    async def _identify(self, call: Call) -> Vouched:
        """Find out who asks, and in which session. The control socket vouches for its operator itself."""
        asked = call.credentials
        vouched = call.vouched = (
            call.operator
            or self._authenticator.cached(asked)
            or await self._authenticator.authenticate(asked)
        )
        session_id = call.inbound.session
        if session_id is not None and call.method != "initialize":
            principal, path = vouched.principal, call.endpoint.path
            call.session = self._sessions.cached(session_id, principal, path) or await self._sessions.open(
                session_id, principal, path
            )
        return vouched

    async def _take(self, call: Call) -> Answer:
        """Take what has no answer: a notification, or a response to what a server asked."""
        message = call.inbound.message
        if message.method is None:
            self._questions.answered(call)
        elif message.method == "notifications/cancelled" and call.session is not None:
            self._running.cancel(call)
        elif message.method == "notifications/roots/list_changed" and call.session is not None:
            self._stops.admit(call.principal)
            await deciding.reach(call)
            self._forward.tell(call)
        call.let_go()
        return ACCEPTED
