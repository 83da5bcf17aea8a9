"""Engine: the calls of the Docker Engine API, each with a deadline, and what their failures mean here.

The only module that imports aiodocker, and only when an engine is opened. It knows the API's paths and
statuses; what a container is made of is in `harden`, what is done with it in `runtime`.
"""

# aiodocker leaves many of its parameters untyped; what its calls return is typed here.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import quote

from tidegate.domain.errors import EngineUnavailable, RuntimeFailure, SettingsError
from tidegate.extensions.runtimes.docker.attach import Door
from tidegate.extensions.runtimes.docker.settings import Deadlines, DockerSettings, locate_engine

if TYPE_CHECKING:
    from aiodocker import Docker

T = TypeVar("T")
Json = dict[str, Any]
"""What the engine sends; read with care, at the edge of this package only."""

_MESSAGE_LIMIT = 500
_PIECE = 64 * 1024


class EngineRefused(RuntimeFailure):
    """The engine answered with an error. `status` is the HTTP status, 0 for one inside a stream."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """An open way to a container engine."""

    def __init__(self, docker: Docker, door: Door, deadlines: Deadlines) -> None:
        self._docker = docker
        self.door = door
        self.deadlines = deadlines

    # --- host

    async def info(self) -> Json:
        """Tell what the engine can do."""
        return await self._short("info", cast("Awaitable[Json]", self._docker.system.info()))

    async def version(self) -> Json:
        """Tell the engine's version."""
        return await self._short("version", self._docker.version())

    # --- containers

    async def create(self, name: str, configuration: Mapping[str, object]) -> str:
        """Create a container and give its id."""
        made = self._docker.containers.create(cast("Any", configuration), name=name)
        return (await self._short(f"creating {name}", made)).id

    async def start(self, name: str) -> None:
        """Start a container that was created."""
        call = self._docker.containers.container(name).start()
        await self._within(f"starting {name}", self.deadlines.start, call)

    async def inspect(self, name: str) -> Json:
        """Describe a container."""
        return await self._short(f"inspecting {name}", self._docker.containers.container(name).show())

    async def stop(self, name: str, grace: int) -> None:
        """Ask a container to end and kill it after `grace` seconds. One that has ended already is no error."""
        call = self._docker.containers.container(name).stop(t=grace)
        await self._within(f"stopping {name}", grace + self.deadlines.call, call)

    async def remove(self, name: str) -> None:
        """Kill and remove a container with its anonymous volumes."""
        call = self._docker.containers.container(name).delete(force=True, v=True)
        # Killing alone may take the engine ten seconds (20.10, daemon/kill.go).
        await self._within(f"removing {name}", 10.0 + self.deadlines.call, call)

    async def wait(self, name: str, seconds: float, *, removed: bool = False) -> None:
        """Wait until a container has ended, or was removed."""
        condition = "removed" if removed else "not-running"
        call = self._docker.containers.container(name).wait(condition=condition)
        await self._within(f"waiting for {name}", seconds, call)

    async def pause(self, name: str) -> None:
        """Freeze a container."""
        await self._short(f"pausing {name}", self._docker.containers.container(name).pause())

    async def unpause(self, name: str) -> None:
        """Let a frozen container go on."""
        await self._short(f"resuming {name}", self._docker.containers.container(name).unpause())

    async def stats(self, name: str) -> Json:
        """Measure a container once, at once: without `one-shot` (API 1.41) the engine takes a second for a rate."""
        # aiodocker's own way knows nothing of one-shot.
        asked = self._docker._query_json(  # pyright: ignore[reportPrivateUsage]
            f"containers/{quote(name, safe='')}/stats", params={"stream": "0", "one-shot": "1"}
        )
        return await self._short(f"measuring {name}", asked)

    async def update(self, name: str, changes: Mapping[str, object]) -> None:
        """Change the limits of a container."""
        changed = self._docker._query_json(  # pyright: ignore[reportPrivateUsage]
            f"containers/{quote(name, safe='')}/update", method="POST", data=dict(changes)
        )
        await self._short(f"giving {name} other limits", changed)

    async def containers(self, label: str) -> list[Json]:
        """List containers that carry a label, running or not."""
        asked = {"label": [label]}
        found = await self._short("listing", self._docker.containers.list(all=1, filters=json.dumps(asked)))
        # aiodocker keeps what the engine listed nowhere else.
        return [one._container for one in found]  # pyright: ignore[reportPrivateUsage]

    # --- networks

    async def create_network(self, configuration: Mapping[str, object]) -> str:
        """Create a network and give its id."""
        made = self._docker.networks.create(dict(configuration))
        return str((await self._short("creating a network", made)).id)  # pyright: ignore[reportUnknownArgumentType]

    async def remove_network(self, name: str) -> None:
        """Remove a network; one that is gone is no error."""
        from aiodocker.networks import DockerNetwork

        try:
            await self._short(f"removing network {name}", DockerNetwork(self._docker, name).delete())
        except EngineRefused as error:
            if error.status != 404:
                raise

    async def networks(self, label: str) -> list[Json]:
        """List networks that carry a label."""
        return await self._short("listing networks", self._docker.networks.list(filters={"label": [label]}))

    # --- images

    async def image(self, name: str) -> Json | None:
        """Describe an image, or None where the engine has none of that name."""
        try:
            return await self._short(f"inspecting image {name}", self._docker.images.inspect(name))
        except EngineRefused as error:
            if error.status == 404:
                return None
            raise

    async def pull(self, image: str, auth: str | None, told: Callable[[Json], None]) -> None:
        """Pull an image, telling each line of progress. `auth` is a ready `X-Registry-Auth` value."""
        name, tag = split_tag(image)
        headers = {"X-Registry-Auth": auth} if auth else {}
        path = f"images/create?fromImage={quote(name, safe='')}" + (
            f"&tag={quote(tag, safe='')}" if tag else ""
        )
        await self._stream(f"pulling {image}", path, told, headers=headers)

    async def build(
        self, tag: str, labels: Mapping[str, str], context: BinaryIO, told: Callable[[Json], None]
    ) -> None:
        """Build an image from a tar, with no network, by the classic builder (engines of 20.10 have it too)."""
        query = f"t={quote(tag, safe='')}&networkmode=none&rm=1&forcerm=1&pull=0&memory={2 << 30}"
        path = f"build?{query}&labels={quote(json.dumps(dict(labels)), safe='')}"
        headers = {"Content-Type": "application/x-tar"}
        await self._stream(f"building {tag}", path, told, headers=headers, body=_pieces(context))

    async def prune_images(self, label: str) -> None:
        """Remove images without a name that carry a label, and what they alone are made of."""
        filters = {"dangling": ["true"], "label": [label]}
        call = self._docker.images.prune(filters=filters)
        await self._within("removing build stages", self.deadlines.silence, call)

    # --- whatever else the API has: the caller knows the path and what comes back

    async def ask(
        self,
        what: str,
        path: str,
        method: str = "GET",
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Any:
        """Make one short call; give what is answered, read where it is JSON."""
        asked = self._docker._query_json(  # pyright: ignore[reportPrivateUsage]
            path, method, params=dict(params or {}), data=None if body is None else dict(body)
        )
        return await self._short(what, asked)

    async def read(
        self,
        what: str,
        path: str,
        take: Callable[[bytes], Awaitable[None]],
        *,
        params: Mapping[str, str],
        seconds: float,
    ) -> None:
        """GET and hand on each piece as it comes: the next is read when `take` has done with the last."""

        async def run() -> None:
            asked = self._docker._query(path, params=dict(params))  # pyright: ignore[reportPrivateUsage]
            async with asked as answer, answer:
                async for piece in answer.content.iter_any():
                    await take(piece)

        await self._within(what, seconds, run())

    async def send(
        self,
        what: str,
        path: str,
        body: AsyncIterator[bytes],
        *,
        method: str = "PUT",
        params: Mapping[str, str],
        seconds: float,
    ) -> None:
        """Send a tar in pieces, and read what is said to it to its end."""

        async def run() -> None:
            headers = {"Content-Type": "application/x-tar"}
            asked = self._docker._query(  # pyright: ignore[reportPrivateUsage]
                path, method, params=dict(params), data=body, headers=headers
            )
            async with asked as answer, answer:
                async for line in answer.content:
                    if line.strip().startswith(b"{"):
                        _tell(what, line, lambda _: None)

        await self._within(what, seconds, run())

    # --- how every call is made

    async def _stream(
        self,
        what: str,
        path: str,
        told: Callable[[Json], None],
        *,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | None = None,
    ) -> None:
        """POST and read lines of JSON. aiodocker's own build has no `networkmode`, its pull no way to give
        credentials for the default registry."""
        from aiohttp import ClientTimeout

        await self.version()  # settles the API version, under a short deadline
        url = f"{self._docker.docker_host}/{self._docker.api_version}/{path}"
        limits = ClientTimeout(total=None, sock_read=self.deadlines.silence)

        async def run() -> None:
            from yarl import URL

            target = URL(url, encoded=True)
            async with self._docker.session.post(
                target, data=body, headers=headers, timeout=limits
            ) as answer:
                if answer.status >= 400:
                    raise EngineRefused(f"{what}: {_message(await answer.text())}", answer.status)
                async for line in answer.content:
                    if line.strip():
                        _tell(what, line, told)

        await self._within(what, self.deadlines.prepare, run())

    async def _short(self, what: str, call: Awaitable[T]) -> T:
        return await self._within(what, self.deadlines.call, call)

    async def _within(self, what: str, seconds: float, call: Awaitable[T]) -> T:
        from aiodocker.exceptions import DockerError
        from aiohttp import ClientError

        try:
            async with asyncio.timeout(seconds):
                return await call
        except TimeoutError as error:
            raise EngineUnavailable(
                f"the container engine at {self.door.url} did not answer within {seconds:g} s ({what})"
            ) from error
        except DockerError as error:
            if error.status == 900:  # aiodocker's own word for "cannot connect"
                raise EngineUnavailable(
                    f"the container engine at {self.door.url} cannot be reached ({what})"
                ) from error
            raise EngineRefused(f"{what}: {_message(error.message)}", error.status) from error
        except (ClientError, OSError) as error:
            raise EngineUnavailable(
                f"the container engine at {self.door.url} broke off ({what}): {type(error).__name__}"
            ) from error


def split_tag(image: str) -> tuple[str, str]:
    """Part an image's name from its tag or digest; without either the tag is `latest`."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, colon, tag = image.rpartition(":")
    if colon and "/" not in tag:
        return head, tag
    return image, "latest"


@asynccontextmanager
async def open_engine(settings: DockerSettings) -> AsyncGenerator[Engine, None]:
    """Open a client. Nothing is sent yet, so that an engine which is down is told by the first call.

    Raises:
        SettingsError: the engine's address cannot be used.
    """
    try:
        from aiodocker import Docker
    except ImportError as error:
        raise SettingsError("runtimes.docker needs the aiodocker package") from error
    door = _door(locate_engine(settings))
    docker = Docker(url=door.url, ssl_context=door.tls)
    try:
        yield Engine(docker, door, settings.deadlines)
    finally:
        await docker.close()


def _door(url: str) -> Door:
    scheme, _, rest = url.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return Door(url)
    if scheme not in ("tcp", "http", "https") or not rest:
        raise SettingsError(
            f"runtimes.docker.socket: {url!r} is not unix:///path, tcp://host:port or https://host:port"
        )
    if scheme == "https" or os.environ.get("DOCKER_TLS_VERIFY"):
        return Door(f"https://{rest}", _client_tls())
    return Door(f"http://{rest}")


def _client_tls() -> ssl.SSLContext:
    """Trust and certificate as the docker command takes them: ca.pem, cert.pem, key.pem in DOCKER_CERT_PATH."""
    place = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    try:
        context = ssl.create_default_context(cafile=str(place / "ca.pem"))
        context.load_cert_chain(str(place / "cert.pem"), str(place / "key.pem"))
    except OSError as error:
        raise SettingsError(
            f"runtimes.docker: the engine's certificates in {place} cannot be read: {error}"
        ) from error
    return context


def _tell(what: str, line: bytes, told: Callable[[Json], None]) -> None:
    try:
        word = cast("object", json.loads(line))
    except ValueError as error:
        raise EngineUnavailable(f"the container engine sent what is not JSON ({what})") from error
    if isinstance(word, dict):
        said = cast("Json", word)
        if said.get("error"):
            raise EngineRefused(f"{what}: {_message(str(said['error']))}", 0)
        told(said)


def _message(text: str) -> str:
    """Give the engine's words as one short line."""
    try:
        text = str(cast("Json", json.loads(text)).get("message", text))
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:_MESSAGE_LIMIT]


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, _PIECE):
        yield piece
