"""Problem: what an administrator's request is answered with where it cannot be done (RFC 9457).

Says what and which, never what was sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from tidegate.domain.errors import Overloaded, Refusal, SettingsError, StateError, TidegateError
from tidegate.protocol.codec import encode

KIND = "application/problem+json"


class Problem(TidegateError):
    """A request of an administrator that cannot be done: its HTTP status and a stable word."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


def unknown_server(name: str, known: Iterable[str]) -> Problem:
    """Say that there is no such server."""
    names = ", ".join(known)
    return Problem(404, "unknown_server", f"no server {name[:64]!r} (known: {names[:2000] or 'none'})")


def as_problem(error: TidegateError) -> Problem:
    """Give what any error of ours is to an administrator."""
    match error:
        case Problem():
            return error
        case Overloaded():
            return Problem(429, error.reason, str(error))
        case Refusal():
            return Problem(error.status if error.status >= 400 else 409, error.reason, str(error))
        case SettingsError():
            return Problem(422, "settings_refused", str(error)[:8000])
        case StateError():
            return Problem(503, "state_unavailable", str(error))
        case _:
            return Problem(409, "refused", str(error))


def body(status: int, reason: str, detail: str) -> bytes:
    """Encode a problem."""
    title = HTTPStatus(status).phrase
    told = {"type": "about:blank", "title": title, "status": status, "reason": reason, "detail": detail}
    return encode(told)
