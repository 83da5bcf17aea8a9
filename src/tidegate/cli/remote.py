"""Remote: the admin API of a gateway elsewhere, asked by its URL with an administrator's key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from tidegate.cli.options import check_url
from tidegate.domain.errors import TidegateError

if TYPE_CHECKING:
    import aiohttp

Gateway = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The gateway's URL, such as https://gw.example, in place of the one that runs here: its admin API is asked, "
        "with the key of an administrator, of a tenant too.",
    ),
]
_DEADLINE = 60.0


async def ask(
    gateway: str,
    key_file: Path | None,
    path: str,
    *,
    query: Mapping[str, object] | None = None,
    body: Mapping[str, Any] | None = None,
) -> bytes:
    """Ask the admin API for a path below `/api/v1`, and give the answer as it came.

    Raises:
        SettingsError: the URL is none, or the file holds no key.
        TidegateError: it cannot be reached, or refuses; says why.
    """
    from tidegate.cli import control, mcp
    from tidegate.cli.tools import key_from

    check_url(gateway)
    url = f"{gateway.rstrip('/')}/api/v1{path}" + (f"?{urlencode(query)}" if query else "")
    async with mcp.dial(url, key_from(key_file)) as session:
        return await control.within(_asked(session, url, body), _DEADLINE)


async def _asked(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any] | None) -> bytes:
    from tidegate.cli import control

    method = "GET" if body is None else "POST"
    async with session.request(method, url, json=body, allow_redirects=False) as response:
        answer = await control.bounded(response)
        if response.status == 401:
            raise TidegateError(
                "the gateway wants an administrator's key (--key-file, or the variable TIDEGATE_KEY)"
            )
        if response.status not in (200, 202):
            raise TidegateError(control.complaint(answer, response.status))
        return answer
