"""The path of a call. The order of `handle` is a security property: it is written, not configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Raw

from tidegate.access.authenticate import Authenticator
from tidegate.access.limits import CallLimits
from tidegate.audit.journal import Journal
from tidegate.channels.channel import Outbound, Reply
from tidegate.domain.errors import (
    CallFailed,
    CallTimedOut,
    ChannelClosed,
    ChannelFailure,
    ChannelTimeout,
    Draining,
    JournalRefused,
    JournalUnavailable,
    ParseFailure,
    Refusal,
    ServerUnavailable,
    SessionForgotten,
    SessionMissing,
    StateError,
    StateRefused,
)
from tidegate.domain.record import Outcome
from tidegate.domain.server import ServerSpec, Sharing
from tidegate.domain.target import Decision
from tidegate.domain.workload import SHARED
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.pool import Lease
from tidegate.gateway.call import ACCEPTED, Answer, Call, refused
from tidegate.gateway.catalog import Entry
from tidegate.gateway.local import LocalAnswers
from tidegate.gateway.sessions import Sessions
from tidegate.ports.identity import Credentials
from tidegate.ports.recorder import Intent
from tidegate.protocol import bridge, mirrors
from tidegate.protocol.codec import (
    decode_object,
    decode_text,
    decode_value,
    encode,
    encode_error,
    encode_result,
    error_object,
)
from tidegate.telemetry import Metrics, log

_NO_ARGUMENTS = Raw(b"{}")


class Pipeline:
    """Takes every call from its bytes to its answer."""

    def __init__(
        self,
        authenticator: Authenticator,
        sessions: Sessions,
        local: LocalAnswers,
        fleet: Fleet,
        journal: Journal,
        limits: CallLimits,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self.draining = False
        self._authenticator = authenticator
        self._sessions = sessions
        self._local = local
        self._fleet = fleet
        self._journal = journal
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._running: dict[tuple[str, bytes], asyncio.Task[object]] = {}
        """Legacy calls that a `notifications/cancelled` may name: (session, request id)."""

    async def handle(self, call: Call) -> Answer:
        """Handle a request, notification or response. Every end of it is recorded; only faults of ours raise."""
        try:
            if not self._recognise(call):
                await self._identify(call)
            if self.draining:
                raise Draining("the gateway is stopping")
            if call.method != "tools/call" or call.inbound.message.id is None:
                return self._answer_here(call)
            name = decode_text(call.params.get("name")) or ""
            entry, decision = call.endpoint.resolve(call.principal, name)
            self._limits.enter(call.principal)
            self._begin(call)
            try:
                lease = self._fleet.lease_now(entry.target.server, self._sharing(call, entry), call.asker)
                if lease is None:
                    lease, decision = await self._wait_for_lease(call, entry)
                with lease:
                    intent = self._intent(call, entry, decision, lease)
                    return await self._send(call, entry, intent, lease)
            finally:
                self._end(call)
                self._limits.leave(call.principal)
        except Refusal as refusal:
            return self.refuse(call, refusal)
        except JournalUnavailable as error:
            return self.refuse(
                call, JournalRefused(f"nothing was done, since it cannot be recorded: {error}")
            )
        except StateError as error:
            return self.refuse(call, StateRefused(f"nothing was done: {error}"))

    def refuse(self, call: Call, refusal: Refusal) -> Answer:
        """Give the answer that a refusal is, and record it. Strangers are counted and sampled only."""
        self._metrics.refusals[refusal.reason] += 1
        fields: dict[str, object] = {
            "call": call.id,
            "method": call.method[:60],
            "name": (decode_text(call.params.get("name")) or "")[:128],
            "endpoint": call.endpoint.path,
            "peer": call.credentials.peer,
            "message": str(refusal),
        }
        if call.vouched is None:
            self._journal.stranger(refusal.reason, fields)
        else:
            self._journal.refused(refusal.reason, call.principal, fields)
        return refused(refusal, call.id, call.inbound.message.id, modern=call.inbound.modern)

    async def is_admin(self, credentials: Credentials) -> bool:
        """Tell whether credentials are an administrator's."""
        try:
            vouched = self._authenticator.cached(credentials) or await self._authenticator.authenticate(
                credentials
            )
        except (Refusal, StateError):
            return False
        return "admin" in vouched.principal.roles

    def refuse_unread(self, call_id: str, endpoint: str, peer: str, refusal: Refusal) -> None:
        """Record a refusal of what was no request yet."""
        self._metrics.refusals[refusal.reason] += 1
        fields = {"call": call_id, "endpoint": endpoint, "peer": peer, "message": str(refusal)}
        self._journal.stranger(refusal.reason, fields)

    def count_malformed(self, peer: str, reason: str) -> None:
        """Record, as a stranger's, what was no HTTP request."""
        self._metrics.refusals["malformed"] += 1
        self._journal.stranger("malformed", {"peer": peer, "message": reason})

    async def end_session(self, call: Call) -> Answer:
        """End a legacy session (HTTP DELETE)."""
        try:
            await self._identify(call)
            if call.session is None or call.inbound.session is None:
                raise SessionMissing("no Mcp-Session-Id: there is no session to end")
            fields = {"call": call.id, "method": "DELETE", "endpoint": call.endpoint.path}
            self._journal.request(call.principal, fields)
            await self._sessions.end(call.inbound.session, call.session)
            self._fleet.end_session(f"{call.principal.key}.{call.session.key}")
            return Answer(200)
        except Refusal as refusal:
            return self.refuse(call, refusal)
        except (JournalUnavailable, StateError) as error:
            return self.refuse(call, JournalRefused(f"the session was not ended: {error}"))

    def _recognise(self, call: Call) -> bool:
        """Do what `_identify` does where all of it is known from before, which is nearly always."""
        vouched = call.vouched = call.operator or self._authenticator.cached(call.credentials)
        session_id = call.inbound.session
        if vouched is None:
            return False
        if session_id is None or call.method == "initialize":
            return True
        call.session = self._sessions.cached(session_id, vouched.principal, call.endpoint.path)
        return call.session is not None

    async def _identify(self, call: Call) -> None:
        """Find out who asks, and in which session. The control socket vouches for its operator itself."""
        asked = call.credentials
        call.vouched = (
            call.operator
            or self._authenticator.cached(asked)
            or await self._authenticator.authenticate(asked)
        )
        session_id = call.inbound.session
        if session_id is not None and call.method != "initialize":
            principal, path = call.vouched.principal, call.endpoint.path
            call.session = self._sessions.cached(session_id, principal, path) or await self._sessions.open(
                session_id, principal, path
            )

    def _answer_here(self, call: Call) -> Answer:
        message = call.inbound.message
        if message.method is not None and message.id is not None:
            return self._local.answer(call)
        if message.method == "notifications/cancelled" and call.session is not None:
            named = message.params.get("requestId")
            running = self._running.get((call.session.key, bytes(named or b"")))
            if running is not None:
                running.cancel()
        return ACCEPTED

    def _begin(self, call: Call) -> None:
        """Let a `notifications/cancelled` find the call, also while it waits for a workload."""
        if call.session is not None and call.task is not None:
            self._running[call.session.key, bytes(call.inbound.message.id or b"")] = call.task

    def _end(self, call: Call) -> None:
        if call.session is not None:
            key = call.session.key, bytes(call.inbound.message.id or b"")
            if self._running.get(key) is call.task:  # an id may be in use twice
                self._running.pop(key, None)

    async def _wait_for_lease(self, call: Call, entry: Entry) -> tuple[Lease, Decision]:
        """Wait for a workload; then look again whether the call may still go out."""
        spec = self._spec(entry)
        try:
            lease = await self._fleet.lease(
                entry.target.server, self._sharing(call, entry), call.asker, spec.timeouts.start
            )
        except ServerUnavailable:
            await self._identify(call)  # a session that was ended took its workload with it
            raise
        try:
            await self._identify(call)
            _, decision = call.endpoint.resolve(call.principal, entry.shown)
            if self.draining:
                raise Draining("the gateway is stopping")
            return lease, decision
        except BaseException:
            lease.release()
            raise

    def _sharing(self, call: Call, entry: Entry) -> str:
        """Say whose workload the call goes to."""
        sharing = self._spec(entry).sharing
        if sharing is Sharing.SHARED:
            return SHARED
        key = call.principal.key
        if sharing is Sharing.CALL:
            return f"{key}.{call.id}"
        if sharing is Sharing.SESSION and call.session is not None:
            return f"{key}.{call.session.key}"
        return key

    def _spec(self, entry: Entry) -> ServerSpec:
        return self._fleet.pools[entry.target.server].spec

    def _intent(self, call: Call, entry: Entry, decision: Decision, lease: Lease) -> Intent:
        return self._journal.intent(
            call_id=call.id,
            principal=call.principal,
            endpoint=call.endpoint.path,
            target=entry.target,
            shown=entry.shown,
            decision=decision,
            workload=lease.workload.identity.id,
            arguments=bytes(call.params.get("arguments", _NO_ARGUMENTS)),
            client=call.client,
            revision=call.inbound.revision if call.session is None else call.session.revision,
            credential=call.vouched.credential if call.vouched else "",
            peer=call.credentials.peer,
            trace=call.trace,
        )

    async def _send(self, call: Call, entry: Entry, intent: Intent, lease: Lease) -> Answer:
        """Send a recorded call to its server, and record what came of it, whatever does."""
        outcome, code, size = Outcome.FAILED, None, 0
        try:
            await self._journal.durable(intent)
            try:
                reply = await lease.channel.call(intent, self._outbound(call, entry))
            except (SessionForgotten, ChannelClosed) as error:
                if isinstance(error, ChannelClosed) and error.sent:
                    raise
                reply = await self._ask_again(call, entry, intent, lease, error)
            answer, outcome, code, size = _read_reply(call, reply)
            return answer
        except asyncio.CancelledError:
            outcome = Outcome.CANCELLED
            raise
        except ChannelFailure as error:
            outcome = Outcome.TIMEOUT if isinstance(error, ChannelTimeout) else Outcome.FAILED
            raise self._broken(entry, lease, error) from error
        finally:
            seconds = self._clock() - call.started
            self._journal.outcome(intent, outcome, code=code, size=size, duration_us=int(seconds * 1e6))
            self._metrics.calls[call.endpoint.path, entry.target.server, outcome.value] += 1
            self._metrics.call_seconds[entry.target.server].observe(seconds)

    async def _ask_again(
        self, call: Call, entry: Entry, intent: Intent, lease: Lease, error: ChannelFailure
    ) -> Reply:
        """Send a call once more of which nothing was done.

        Either the server no longer knew the session (a 404, told to the workload by its channel; another
        call may have brought it up anew already), or nothing could be sent.
        """
        if (
            isinstance(error, ChannelClosed) and lease.workload.channel is lease.channel
        ):  # else it knows already
            lease.workload.replace(str(error))
        # By the time there is one, it may be that the call must not go out any more.
        again, _ = await self._wait_for_lease(call, entry)
        with again:
            return await again.channel.call(intent, self._outbound(call, entry))

    def _outbound(self, call: Call, entry: Entry) -> Outbound:
        params = call.params
        return Outbound(
            "tools/call",
            {**params, "name": Raw(encode(entry.target.name))},
            bridge.hop_free(call.inbound.message.meta),
            name=entry.target.name,
            timeout=self._spec(entry).timeouts.call,
            notify=call.notify,
            mirrored=mirrors.values(entry.mirrors, params.get("arguments", _NO_ARGUMENTS)),
        )

    def _broken(self, entry: Entry, lease: Lease, error: ChannelFailure) -> Refusal:
        """Say what a broken channel means for the call, and have the workload looked after."""
        server = entry.target.server
        log().warning("call.failed", server=server, workload=lease.workload.identity.id, reason=str(error))
        lease.workload.suspect()
        if isinstance(error, ChannelTimeout):
            return CallTimedOut(f"server {server}: {error}; its outcome is unknown")
        if not error.sent:
            return ServerUnavailable(f"server {server} is not available: {error}; nothing was called")
        return CallFailed(f"server {server} failed during the call: {error}; its outcome is unknown")


def _read_reply(call: Call, reply: Reply) -> tuple[Answer, Outcome, int | None, int]:
    """Give the answer that a server's reply is, with what the record says of it: outcome, code, size."""
    request_id, modern = call.inbound.message.id or b"null", call.inbound.modern
    if reply.result is not None:
        kind = bridge.ResultKind(reply.result)
        if not modern and kind.type != "complete":
            text = f"the server answered {kind.type[:40]!r}, which this client's revision cannot take"
            return Answer(200, encode_error(request_id, error_object(-32603, text))), Outcome.ERROR, -32603, 0
        body = encode_result(request_id, bridge.result_for(reply.result, kind, modern_client=modern))
        outcome = Outcome.TOOL_ERROR if kind.is_error else Outcome.OK
        return Answer(200, body), outcome, None, len(reply.result)
    error = reply.error or Raw(error_object(-32603, "the server answered neither with a result nor an error"))
    code = _code(error)
    status = _MODERN_STATUS.get(code, 200) if modern else 200
    return Answer(status, encode_error(request_id, error)), Outcome.ERROR, code, len(error)


_MODERN_STATUS = {-32601: 404, -32020: 400, -32021: 400, -32022: 400}
"""HTTP status of errors that a modern client looks for there."""


def _code(error: Raw) -> int:
    try:
        code = decode_value(decode_object(error).get("code", Raw(b"0")))
    except ParseFailure:
        return 0
    return code if isinstance(code, int) else 0
