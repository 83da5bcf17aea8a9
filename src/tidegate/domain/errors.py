"""The one tree of errors, and the table of what each is over HTTP and JSON-RPC.

    TidegateError
    ├── SettingsError            the settings cannot be used
    ├── StateError               the state directory or store cannot be used
    ├── SecretUnavailable        a secret cannot be had from where it is kept
    ├── RuntimeFailure           a runtime could not do what was asked
    │   └── EngineUnavailable    the engine does not answer
    ├── ChannelFailure           a way to a workload broke or never opened
    │   ├── ChannelClosed        it ended while, or before, a call was on it
    │   ├── ChannelTimeout       nothing came within the deadline
    │   └── UpstreamProtocolError  what came is not MCP
    ├── GatewayUnreachable       another gateway that shares the state did not take, or answer, what was sent
    ├── JournalUnavailable       the journal cannot take a record
    └── Refusal                  a request is answered with an error instead of a result
        └── …                    one class for each row of codes, below

Messages say what and which, in lower case; never a token, an argument's value or a secret.
"""

from __future__ import annotations

from typing import ClassVar

from tidegate.domain.target import Decision, Target


class TidegateError(Exception):
    """Anything this package raises on purpose."""


class SettingsError(TidegateError):
    """The settings cannot be used. `problems` holds one line for each mistake."""

    def __init__(self, problems: list[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else problems
        super().__init__("\n".join(self.problems))


class StateError(TidegateError):
    """The state directory or the state store cannot be used."""


class SecretUnavailable(TidegateError):
    """A secret cannot be had from where it is kept. The message names it, never what it holds."""


class RuntimeFailure(TidegateError):
    """A runtime could not prepare, start, attach, stop or list a workload."""


class EngineUnavailable(RuntimeFailure):
    """The container engine does not answer, or not within its deadline."""


class ChannelFailure(TidegateError):
    """A channel to a workload is of no use for the call that was on it.

    `sent` is whether any byte of the call may have reached the server.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class ChannelClosed(ChannelFailure):
    """The channel ended before the answer came."""


class ChannelTimeout(ChannelFailure):
    """No answer came within the call's deadline."""


class UpstreamProtocolError(ChannelFailure):
    """The upstream sent what is not MCP, or too much of it."""


class UpstreamRefused(ChannelFailure):
    """The upstream answered with an HTTP status that carries no JSON-RPC answer."""

    def __init__(self, message: str, *, status: int, sent: bool = True) -> None:
        super().__init__(message, sent=sent)
        self.status = status


class SessionForgotten(ChannelFailure):
    """A remote server no longer knows the session it gave (HTTP 404)."""


class GatewayUnreachable(TidegateError):
    """Another gateway is gone, or did not answer in time: what was asked of it may have been done or not."""


class JournalUnavailable(TidegateError):
    """The journal cannot take a record: disk full, read-only, or closed."""


class Refusal(TidegateError):
    """A request that is answered with an error. Subclasses give the codes.

    `reason` is a stable word for records and metrics; `code` is the JSON-RPC code, `status` the
    HTTP status. Codes in -32768..-32000 are the specification's; our own are outside that range
    (MCP 2026-07-28, basic, error codes). `target` and `decision` are for the record alone: no client is told.
    """

    reason: ClassVar[str] = "refused"
    code: ClassVar[int] = -32603
    status: ClassVar[int] = 200

    def __init__(
        self,
        message: str,
        *,
        data: dict[str, object] | None = None,
        target: Target | None = None,
        decision: Decision | None = None,
    ) -> None:
        super().__init__(message)
        self.data = data
        self.target = target
        """What it was for, where that was found."""
        self.decision = decision
        """What denied it."""


class ParseFailure(Refusal):
    """The body is not JSON, or not JSON we accept (duplicate keys, too deep)."""

    reason, code, status = "parse_error", -32700, 400


class InvalidRequest(Refusal):
    """The body is JSON but no JSON-RPC request."""

    reason, code, status = "invalid_request", -32600, 400


class MethodNotFound(Refusal):
    """No such method in this era. HTTP 404 on a modern request, 200 on a legacy one."""

    reason, code, status = "method_not_found", -32601, 404


class InvalidParams(Refusal):
    """The parameters do not fit, or name what is not there (or not for this principal)."""

    reason, code, status = "invalid_params", -32602, 200


class MissingMeta(Refusal):
    """A modern request lacks a required `_meta` key."""

    reason, code, status = "missing_meta", -32602, 400


class HeaderMismatch(Refusal):
    """A mirrored header is missing or differs from the body (MCP 2026-07-28, Streamable HTTP)."""

    reason, code, status = "header_mismatch", -32020, 400


class MissingCapability(Refusal):
    """The client did not declare a capability that is needed."""

    reason, code, status = "missing_capability", -32021, 400


class UnsupportedVersion(Refusal):
    """The protocol revision is not one we speak."""

    reason, code, status = "unsupported_version", -32022, 400


class TooLarge(Refusal):
    """A body, header or argument is over its bound."""

    reason, code, status = "too_large", -32600, 413


class WrongMediaType(Refusal):
    """The body is not said to be JSON."""

    reason, code, status = "wrong_media_type", -32600, 415


class NotAcceptable(Refusal):
    """The client takes neither of the forms an answer has."""

    reason, code, status = "not_acceptable", -32600, 406


class Forbidden(Refusal):
    """Host, Origin or path is not one this listener serves."""

    reason, code, status = "forbidden", -32600, 403


class Unauthenticated(Refusal):
    """No credentials, or none that are valid.

    `error` is the word for it in a challenge (RFC 6750, 3.1; RFC 9449, 7.1), empty where nothing was sent that could
    be wrong. `nonce` is what the next proof has to hold. `counts`: whether it is held against the address that sent
    them; it is not where they were good once, and are old now. `guess`: it was a secret that was wrong, also where it
    has the form of what is signed.
    """

    reason, code, status = "unauthenticated", -32600, 401

    def __init__(
        self,
        message: str,
        *,
        error: str = "invalid_token",
        nonce: str | None = None,
        counts: bool = True,
        guess: bool = False,
    ) -> None:
        super().__init__(message)
        self.error = error
        self.nonce = nonce
        self.counts = counts
        self.guess = guess


class InsufficientScope(Refusal):
    """The token is good, and was not issued for this. `scopes` are all that the call needs (RFC 6750, 3.1)."""

    reason, code, status = "insufficient_scope", -32600, 403

    def __init__(self, message: str, scopes: frozenset[str], *, target: Target | None = None) -> None:
        super().__init__(message, data={"scopes": sorted(scopes)}, target=target)
        self.scopes = scopes


class IdentityUnavailable(Refusal):
    """Nobody can tell now whether the credentials are valid: their issuer does not answer. Trying later may help."""

    reason, code, status = "identity_unavailable", -31013, 503


class SessionUnknown(Refusal):
    """The session id is not one of ours, or not this principal's. The client initialises again."""

    reason, code, status = "session_unknown", -32600, 404


class SessionMissing(Refusal):
    """A legacy request other than `initialize` came without a session id."""

    reason, code, status = "session_missing", -32600, 400


class Denied(Refusal):
    """A rule denies it, or no rule allows it."""

    reason, code, status = "denied", -31003, 200


class Stopped(Refusal):
    """An administrator has stopped this. The reason is said; nothing was called."""

    reason, code, status = "stopped", -31014, 200


class LimitExceeded(Refusal):
    """More was asked for than a limit allows. `data.retryAfter` are seconds until trying again may help."""

    reason, code, status = "limit_exceeded", -31015, 200


class ServerUnavailable(Refusal):
    """The server is not there now; trying later may help."""

    reason, code, status = "server_unavailable", -31001, 200


class CallFailed(Refusal):
    """The call went out and no answer came back: its outcome is unknown to us."""

    reason, code, status = "call_failed", -31002, 200


class CallTimedOut(Refusal):
    """The call went out and no answer came within its deadline."""

    reason, code, status = "call_timed_out", -31004, 200


class MemoryLost(Refusal):
    """The server was replaced and what it remembered is gone. Said once; the next call goes on."""

    reason, code, status = "memory_lost", -31005, 200


class Overloaded(Refusal):
    """Too many calls wait already."""

    reason, code, status = "overloaded", -31006, 200


class JournalRefused(Refusal):
    """No record can be kept, so nothing is done."""

    reason, code, status = "journal_unavailable", -31007, 503


class StateRefused(Refusal):
    """What decides whether this may be cannot be looked up, so it may not."""

    reason, code, status = "state_unavailable", -31010, 503


class ClientUnreachable(Refusal):
    """A server asked something of a client that nobody can ask now, or that did not answer in time."""

    reason, code, status = "client_unreachable", -31011, 200


class StateInvalid(Refusal):
    """A `requestState` or handle that is not ours, not this principal's, not for this request, or used up."""

    reason, code, status = "state_invalid", -32602, 200


class StreamsFull(Refusal):
    """As many event streams are open as may be."""

    reason, code, status = "streams_full", -31012, 503


class Cancelled(Refusal):
    """The client cancelled the call, so nothing is sent to it."""

    reason, code, status = "cancelled", -31008, 200


class Draining(Refusal):
    """The gateway is stopping."""

    reason, code, status = "draining", -31009, 503
