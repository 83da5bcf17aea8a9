"""The control socket of the gateway that runs on a state directory: who can open it is its operator.

A small client of `GET /v1/status`, `GET /v1/logs/{server}` and MCP over the same socket. Bounded in
size and time; where no gateway answers, that is one clear error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from tidegate.domain.errors import StateError, TidegateError
from tidegate.state_directory import control_socket

MAX_ANSWER = 16 * 1024 * 1024
DEADLINE = 10.0
BASE = "http://localhost"

T = TypeVar("T")


class WorkloadStatus(msgspec.Struct, frozen=True):
    """A workload, as the gateway tells of it."""

    id: str
    state: str
    reason: str | None = None
    in_flight: int = 0
    calls: int = 0
    restarts: int = 0
    started: float | None = None
    facts: dict[str, str] = {}


class ServerStatus(msgspec.Struct, frozen=True):
    """A server, as the gateway tells of it."""

    name: str
    state: str
    reason: str | None = None
    runtime: str = ""
    transport: str = ""
    launch: str = ""
    sharing: str = ""
    tools: int = 0
    retry_in: float | None = None
    workloads: list[WorkloadStatus] = []


class EndpointStatus(msgspec.Struct, frozen=True):
    """An endpoint, as the gateway tells of it."""

    path: str
    servers: list[str] = []
    names: str = "prefixed"


class Status(msgspec.Struct, frozen=True):
    """The answer to `GET /v1/status`."""

    version: str
    url: str
    ready: bool
    instance: str = ""
    pid: int = 0
    draining: bool = False
    started: float | None = None
    endpoints: list[EndpointStatus] = []
    servers: list[ServerStatus] = []


@asynccontextmanager
async def connect(state: Path) -> AsyncGenerator[aiohttp.ClientSession]:
    """Open the control socket of the gateway that runs on a state directory.

    Raises:
        StateError: none runs.
        TidegateError: it may not be asked, or broke off.
    """
    try:
        with control_socket(state) as path:
            connector = aiohttp.UnixConnector(path=str(path))
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=DEADLINE)
            async with aiohttp.ClientSession(
                connector=connector, timeout=timeout, auto_decompress=False
            ) as session:
                yield session
    except aiohttp.ClientConnectorError as error:
        raise _unreachable(state, error.os_error) from None
    except aiohttp.ClientError as error:
        raise TidegateError(f"the gateway on {state} broke off: {type(error).__name__}") from None
    except OSError as error:
        raise _unreachable(state, error) from None


def _unreachable(state: Path, error: OSError) -> TidegateError:
    if isinstance(error, PermissionError):
        return TidegateError(f"the control socket in {state} belongs to another user")
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return StateError(f"no gateway runs on {state} (start one with tidegate serve)")
    return TidegateError(f"the control socket in {state} cannot be opened: {error.strerror or error}")


async def running(state: Path) -> bool:
    """Tell whether a gateway answers on a state directory."""
    try:
        async with connect(state) as session:
            await within(_get(session, "/v1/status"))
    except StateError:
        return False
    except TidegateError:
        return True  # it is there, well or not
    return True


async def status(session: aiohttp.ClientSession) -> tuple[Status, bytes]:
    """Ask for the status: decoded, and as it came.

    Raises:
        TidegateError: what came is not one.
    """
    body = await within(_get(session, "/v1/status"))
    try:
        return msgspec.json.decode(body, type=Status), body
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TidegateError(f"the gateway's status cannot be read: {error}") from None


async def logs(
    session: aiohttp.ClientSession, server: str, lines: int, *, follow: bool
) -> AsyncIterator[bytes]:
    """Yield pieces of a server's standard error; with `follow`, until it is broken off.

    Raises:
        TidegateError: there is no such server, or no such gateway any more.
    """
    url = f"{BASE}/v1/logs/{quote(server, safe='')}?lines={lines}&follow={int(follow)}"
    response = await within(session.get(url))
    async with response:
        if response.status != 200:
            raise TidegateError(_complaint(await within(bounded(response)), response.status))
        while True:
            # Following waits for as long as the server is silent; otherwise a gateway that stalls is an error.
            reading = response.content.readany()
            piece = await (reading if follow else within(reading))
            if not piece:
                return
            yield piece


async def within(waiting: Awaitable[T]) -> T:
    """Wait with the deadline of the control socket.

    Raises:
        TidegateError: it passed.
    """
    try:
        async with asyncio.timeout(DEADLINE):
            return await waiting
    except TimeoutError:
        raise TidegateError(f"the gateway did not answer within {DEADLINE:.0f} s") from None


async def bounded(response: aiohttp.ClientResponse, limit: int = MAX_ANSWER) -> bytes:
    """Read a body of at most `limit` bytes.

    Raises:
        TidegateError: it is larger.
    """
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit:
            raise TidegateError(f"the answer is larger than {limit} bytes")
    return bytes(body)


async def _get(session: aiohttp.ClientSession, path: str) -> bytes:
    async with session.get(BASE + path) as response:
        body = await bounded(response)
        if response.status != 200:
            raise TidegateError(_complaint(body, response.status))
        return body


class _Complaint(msgspec.Struct):
    error: str


def _complaint(body: bytes, status: int) -> str:
    try:
        return msgspec.json.decode(body, type=_Complaint).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"the gateway answered with HTTP status {status}"
