"""Reloads: how the settings come to be others, asked for on the control socket. Decides nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import parse_qs

from typing_extensions import TypedDict  # pydantic reads those of `typing` from Python 3.12 on only

from tidegate.domain.errors import SettingsError, TidegateError
from tidegate.edge.app import send_json
from tidegate.edge.asgi import Receive, Scope, Send

_WHO = "control"
"""Who asks here: the operator."""


class SettingsShape(TypedDict):
    """Which version of the settings is in force, and what is wrong with the file."""

    version: int
    since: int
    by: str
    file: str
    in_place_of_the_file: bool
    problems: list[str]
    """Why the file was not taken last; none where it was."""


class Reloads(Protocol):
    """What a running gateway's settings can be told."""

    problems: Sequence[str]
    """Why the file was not taken last; none where it was."""

    @property
    def number(self) -> int:
        """Give the number of the version in force."""
        ...

    def about(self) -> SettingsShape:
        """Tell which version is in force, whether the file says the same, and why it was not taken last."""
        ...

    async def reload(self, who: str) -> Mapping[str, object]:
        """Take the file as it stands. Give what has changed.

        Raises:
            TidegateError: it cannot be taken; what was in force stays so.
        """
        ...

    async def rollback(self, number: int, who: str) -> Mapping[str, object]:
        """Put an earlier version in force, in place of the file until that changes. Give what has changed.

        Raises:
            TidegateError: it cannot be taken; what was in force stays so.
        """
        ...

    async def versions(self) -> Sequence[Mapping[str, object]]:
        """Give the versions that are kept, without their texts; the one in force last."""
        ...


class ReloadPages:
    """`/v1/reload`, `/v1/config`, `/v1/config/versions`, `/v1/config/rollback?to=N`."""

    def __init__(self, reloads: Reloads) -> None:
        self._reloads = reloads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            found = await self._answer(
                scope["method"], scope["path"], scope["query_string"].decode("latin-1")
            )
        except SettingsError as error:
            await send_json(send, 422, {"error": str(error), "problems": error.problems})
        except TidegateError as error:
            await send_json(send, 503, {"error": str(error)})
        else:
            status = 200 if found is not None else 404
            await send_json(send, status, found or {"error": f"no {scope['method']} {scope['path']} here"})

    async def _answer(self, method: str, path: str, query: str) -> Mapping[str, object] | None:
        match method, path:
            case "POST", "/v1/reload":
                return await self._reloads.reload(_WHO)
            case "GET", "/v1/config":
                return self._reloads.about()
            case "GET", "/v1/config/versions":
                return {"versions": await self._reloads.versions()}
            case "POST", "/v1/config/rollback":
                number = parse_qs(query).get("to", [""])[0]
                if not (number.isascii() and number.isdecimal() and len(number) < 10):
                    raise SettingsError("to: should be the number of a version")
                return await self._reloads.rollback(int(number), _WHO)
            case _:
                return None
