"""Record kinds: what the journal keeps of one event. Versioned from the first day.

A record is one JSON object on one line; `docs/journal.md` lists its fields.
"""

from __future__ import annotations

from enum import StrEnum

RECORD_VERSION = 1


class RecordKind(StrEnum):
    """What happened. Calls are one kind among many."""

    CALL_INTENT = "call.intent"
    """A call is about to go out. Written before any byte of it does."""
    CALL_OUTCOME = "call.outcome"
    """What came of an intent: `ok`, `tool_error`, `error`, `input_required`, `cancelled`, `timeout`, `failed`, `unknown`."""
    REQUEST = "request"
    """A request that the gateway answered itself (a list, `initialize`, …)."""
    QUESTION = "question"
    """A server asked something of a client, and what came of it."""
    REFUSED = "refused"
    """A request that was refused, with the reason."""
    STRANGERS_REFUSED = "refused.strangers"
    """Count of refusals before authentication, of which only samples are kept."""
    GATEWAY = "gateway"
    """The gateway started, stopped or loaded settings."""
    WORKLOAD = "workload"
    """A workload started, was adopted, failed or stopped."""
    NETWORK = "network"
    """A server opened a connection, or was refused one."""
    ROLLOUT = "rollout"
    """A step of bringing in a change of a server, or of taking it back."""
    KEY = "key"
    """An API key was created or revoked."""
    STOP = "stop"
    """Something is stopped at this gateway from now on, or no more."""
    ADMIN = "admin"
    """Somebody changed what runs, or the settings, by the admin API or the command line."""
    SEGMENT = "segment"
    """Head of a file: the chain's last hash, the Merkle root of the one before, what is open."""


class Outcome(StrEnum):
    """What came of a call."""

    OK = "ok"
    TOOL_ERROR = "tool_error"
    """The server answered with `isError: true`."""
    ERROR = "error"
    """The server answered with a JSON-RPC error."""
    INPUT_REQUIRED = "input_required"
    """The server asked for input; the client answers with a retry, which is a call of its own."""
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    FAILED = "failed"
    """The channel broke: the server may or may not have acted."""
    UNKNOWN = "unknown"
    """The gateway ended in between; closed at the next start."""
