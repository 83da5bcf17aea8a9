"""The control socket of the gateway that runs on a state directory: who can open it is its operator.

A small client of `/v1/status`, `/v1/logs`, `/v1/servers`, `/v1/events` and MCP over the same socket. Bounded
in size and time; where no gateway answers, that is one clear error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from tidegate.domain.errors import StateError, TidegateError
from tidegate.state_directory import control_socket

MAX_ANSWER = 16 * 1024 * 1024
DEADLINE = 10.0
BASE = "http://localhost"

T = TypeVar("T")


class Usage(msgspec.Struct, frozen=True):
    """What a workload uses."""

    memory: int = 0
    cpu_seconds: float = 0.0
    pids: int = 0


class Replicas(msgspec.Struct, frozen=True):
    """How many workloads of a server there are."""

    ready: int = 0
    wanted: int = 0
    min: int = 0
    max: int = 0


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
    health: str = "unknown"
    health_reason: str | None = None
    usage: Usage | None = None


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
    replicas: Replicas = Replicas()
    in_flight: int = 0
    waiting: int = 0
    p50: float | None = None
    p95: float | None = None
    restarts: int = 0
    memory: int | None = None
    image: str | None = None
    since: float | None = None
    rollout: str | None = None
    workloads: list[WorkloadStatus] = []


class Demand(msgspec.Struct, frozen=True):
    """What is asked of a server."""

    wait: float = 0.0
    calls: int = 0
    failures: int = 0
    errors: int = 0


class Version(msgspec.Struct, frozen=True):
    """One version of a server's declaration."""

    digest: str
    current: bool = False
    share: float = 0.0
    calls: int = 0
    failures: int = 0
    errors: int = 0
    p95: float | None = None


class Happening(msgspec.Struct, frozen=True):
    """A change of a workload."""

    time: float
    workload: str
    state: str
    reason: str | None = None


class ServerDetail(ServerStatus, frozen=True):
    """A server, with all there is to tell of it."""

    demand: Demand = Demand()
    versions: list[Version] = []
    history: list[Happening] = []


class RolloutVersion(msgspec.Struct, frozen=True):
    """One of the two versions of a rollout under way."""

    digest: str
    ready: int = 0
    of: int = 0
    calls: int = 0
    failures: int = 0
    p95: float | None = None


class Standing(msgspec.Struct, frozen=True):
    """Where a rollout is, or how it ended."""

    server: str
    state: str
    strategy: str
    old: str
    new: str
    changed: float
    step: str | None = None
    reason: str | None = None
    share: float | None = None
    paused: bool = False
    versions: list[RolloutVersion] = []


class Standings(msgspec.Struct, frozen=True):
    """The answer to `GET /v1/rollouts`."""

    rollouts: list[Standing]


class SignalStatus(msgspec.Struct, frozen=True):
    """A signal from outside."""

    signal: str
    on: bool = False
    until: float | None = None
    servers: list[str] = []


class _Signals(msgspec.Struct, frozen=True):
    signals: list[SignalStatus]


class EndpointStatus(msgspec.Struct, frozen=True):
    """An endpoint, as the gateway tells of it."""

    path: str
    servers: list[str] = []
    names: str = "prefixed"


class SettingsStatus(msgspec.Struct, frozen=True):
    """The version of the settings in force, as the gateway tells of it."""

    version: int = 0
    in_place_of_the_file: bool = False
    problems: list[str] = []


class Status(msgspec.Struct, frozen=True):
    """The answer to `GET /v1/status`."""

    version: str
    url: str
    ready: bool
    instance: str = ""
    pid: int = 0
    draining: bool = False
    started: float | None = None
    settings: SettingsStatus = SettingsStatus()
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


async def server(session: aiohttp.ClientSession, name: str) -> tuple[ServerDetail, bytes]:
    """Ask for all there is to tell of a server: decoded, and as it came.

    Raises:
        TidegateError: there is no such server, or what came is not one.
    """
    body = await within(_get(session, f"/v1/servers/{word(name)}"))
    try:
        return msgspec.json.decode(body, type=ServerDetail), body
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TidegateError(f"what the gateway says of the server cannot be read: {error}") from None


async def get(session: aiohttp.ClientSession, path: str) -> bytes:
    """Ask for something, and give it as it came.

    Raises:
        TidegateError: it is not there; says why.
    """
    return await within(_get(session, path))


async def rollouts(session: aiohttp.ClientSession, server: str | None) -> tuple[list[Standing], object]:
    """Ask where the rollouts are, or the one of a server: decoded, and as it came.

    Raises:
        TidegateError: there is no such server, or what came is none of it.
    """
    query = "" if server is None else f"?server={word(server)}"
    body = await within(_get(session, "/v1/rollouts" + query))
    try:
        return msgspec.json.decode(body, type=Standings).rollouts, msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TidegateError(f"what the gateway says of rollouts cannot be read: {error}") from None


async def signals(session: aiohttp.ClientSession) -> list[SignalStatus]:
    """Ask for the signals from outside.

    Raises:
        TidegateError: what came is none of it.
    """
    body = await within(_get(session, "/v1/signals"))
    try:
        return msgspec.json.decode(body, type=_Signals).signals
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TidegateError(f"what the gateway says of signals cannot be read: {error}") from None


async def turn(session: aiohttp.ClientSession, signal: str, body: dict[str, Any]) -> SignalStatus:
    """Turn a signal from outside on or off. Give what it is then.

    Raises:
        TidegateError: no server is told by it, or what came is none of it.
    """
    told = await operate(session, f"/v1/signals/{word(signal)}", body)
    try:
        return msgspec.json.decode(told, type=SignalStatus)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TidegateError(f"what the gateway says of the signal cannot be read: {error}") from None


async def operate(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> bytes:
    """Have something done; `body["wait"]` seconds are waited for beside the deadline.

    Raises:
        TidegateError: it was not done; says why.
    """
    wait = body.get("wait")
    asking = _post(session, path, msgspec.json.encode(body))
    return await within(asking, DEADLINE + (wait if isinstance(wait, int | float) else 0.0))


async def events(
    session: aiohttp.ClientSession, server: str | None, recent: int, *, follow: bool
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield what happens, as kind and data; with `follow`, until it is broken off.

    Raises:
        TidegateError: the gateway does not tell, or tells what is no event.
    """
    query = f"?recent={recent}&follow={int(follow)}" + (f"&server={word(server)}" if server else "")
    response = await within(session.get(f"{BASE}/v1/events{query}"))
    async with response:
        if response.status != 200:
            raise TidegateError(complaint(await within(bounded(response)), response.status))
        kind = ""
        while line := await _line(response, follow=follow):
            name, _, value = line.rstrip(b"\n").partition(b": ")
            if name == b"event":
                kind = value.decode("utf-8", "replace")
            elif name == b"data":
                try:
                    yield kind, msgspec.json.decode(value, type=dict[str, Any])
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise TidegateError(f"an event cannot be read: {error}") from None


async def _line(response: aiohttp.ClientResponse, *, follow: bool) -> bytes:
    reading = response.content.readline()
    try:
        return await (reading if follow else within(reading))
    except ValueError:
        raise TidegateError("an event is longer than can be read") from None


def word(text: str) -> str:
    """Encode a word as part of a path or query."""
    return quote(text, safe="")


async def logs(
    session: aiohttp.ClientSession, server: str, lines: int, *, follow: bool
) -> AsyncIterator[bytes]:
    """Yield pieces of a server's standard error; with `follow`, until it is broken off.

    Raises:
        TidegateError: there is no such server, or no such gateway any more.
    """
    url = f"{BASE}/v1/logs/{word(server)}?lines={lines}&follow={int(follow)}"
    response = await within(session.get(url))
    async with response:
        if response.status != 200:
            raise TidegateError(complaint(await within(bounded(response)), response.status))
        while True:
            # Following waits for as long as the server is silent; otherwise a gateway that stalls is an error.
            reading = response.content.readany()
            piece = await (reading if follow else within(reading))
            if not piece:
                return
            yield piece


async def within(waiting: Awaitable[T], deadline: float = DEADLINE) -> T:
    """Wait with the deadline of the control socket, or another, in seconds.

    Raises:
        TidegateError: it passed.
    """
    try:
        async with asyncio.timeout(deadline):
            return await waiting
    except TimeoutError:
        raise TidegateError(f"the gateway did not answer within {deadline:.0f} s") from None


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
            raise TidegateError(complaint(body, response.status))
        return body


async def _post(session: aiohttp.ClientSession, path: str, body: bytes) -> bytes:
    headers = {"content-type": "application/json"}
    async with session.post(BASE + path, data=body, headers=headers) as response:
        answer = await bounded(response)
        if response.status not in (200, 202):
            raise TidegateError(complaint(answer, response.status))
        return answer


class _Complaint(msgspec.Struct):
    error: str = ""
    detail: str = ""


def complaint(body: bytes, status: int) -> str:
    """Say why a gateway did not do what it was asked for."""
    try:
        told = msgspec.json.decode(body, type=_Complaint)
        return told.error or told.detail or f"the gateway answered with HTTP status {status}"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"the gateway answered with HTTP status {status}"
