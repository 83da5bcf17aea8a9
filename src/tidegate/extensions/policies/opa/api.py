"""OPA's REST API: documents asked for, with a deadline and bounds. The only module here that knows of HTTP.

Whatever goes wrong is `Trouble`, which denies; its message names no token and nothing of what was sent. Redirects are
not followed: they would carry the token, and who decides is said in the settings.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

import msgspec
from msgspec import Raw

from tidegate.domain.errors import SettingsError, TidegateError
from tidegate.extensions.policies.opa.breaker import Breaker
from tidegate.ports.extension import Surroundings
from tidegate.protocol.codec import encode

if TYPE_CHECKING:
    from aiohttp import BaseConnector, ClientSession

    from tidegate.extensions.policies.opa import OpaSettings

LARGEST = 1024 * 1024
"""Bytes of a question, and of an answer."""
LARGEST_READ = 16 * 1024 * 1024
"""Bytes of the policies and data that are read whole to see whether they changed."""
READING = 5.0
"""Seconds for policies and data read whole; whoever looks for changes has less patience."""
_WAITING = 2048
"""Who may wait for a place at one time."""
_WORDS = 200
_UNREADABLE = frozenset({401, 403, 404, 405, 501})


_Request = tuple[str, str, bytes]
"""Method, path, body."""


class Trouble(TidegateError):
    """OPA did not answer, or not with what was agreed. What it was asked is denied."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def unreadable(self) -> bool:
        """Whether it answers, and does not let this be read."""
        return self.status in _UNREADABLE


class Undefined:
    """Stands for a document that is not defined."""


UNDEFINED: Final = Undefined()


class Told(msgspec.Struct, frozen=True):
    """An answer of the data API (https://www.openpolicyagent.org/docs/rest-api#data-api)."""

    result: Raw = Raw(b"")
    """Empty where the document is not defined."""
    decision_id: str = ""
    provenance: Raw = Raw(b"{}")

    def value(self) -> object:
        """Give the document.

        Raises:
            Trouble: it is no JSON.
        """
        return _decoded(msgspec.json.decode, self.result) if bytes(self.result) else UNDEFINED


class Module(msgspec.Struct, frozen=True):
    """A policy as OPA has it, with its text and its tree."""

    id: str
    raw: str = ""
    ast: Raw = Raw(b"{}")


class _Modules(msgspec.Struct, frozen=True):
    result: tuple[Module, ...] = ()


class _Error(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """How it is reached."""

    session: ClientSession
    base: str
    tls: ssl.SSLContext | None
    token: str | None


class Api:
    """A way to one OPA."""

    def __init__(self, way: Way, settings: OpaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._way = way
        self._timeout = settings.timeout
        self._places = asyncio.Semaphore(settings.at_once)
        self._waiting = 0
        self._breaker = Breaker(clock)

    async def ask(
        self, path: str, document: object, *, provenance: bool = False, patience: float = 0.0
    ) -> Told:
        """Have a document decided with an input, within the timeout of the settings or so many seconds.

        Raises:
            Trouble: it was not.
        """
        body = encode({"input": document})
        if len(body) > LARGEST:
            raise Trouble(f"what would be asked has more than {LARGEST} bytes")
        query = "?provenance=true" if provenance else ""
        patience = patience or self._timeout
        told = await self._call(("POST", f"/v1/data/{path}{query}", body), LARGEST, patience)
        return cast("Told", _decoded(_DATA.decode, told))

    async def data(self, path: Sequence[str]) -> bytes:
        """Give a document of its data as it stands there.

        Raises:
            Trouble: it could not be read.
        """
        place = "/".join(quote(each, safe="").replace(".", "%2E") for each in path)
        return await self._call(("GET", f"/v1/data/{place}", b""), LARGEST_READ, READING)

    async def modules(self) -> tuple[Module, ...]:
        """Give all its policies.

        Raises:
            Trouble: they could not be read.
        """
        told = await self._call(("GET", "/v1/policies", b""), LARGEST_READ, READING)
        return cast("_Modules", _decoded(_MODULES.decode, told)).result

    async def _call(self, request: _Request, most: int, patience: float) -> bytes:
        if not self._breaker.lets_through():
            raise Trouble("it did not answer lately; it is tried again within a second")
        if self._waiting >= _WAITING:
            raise Trouble("too many wait for it")
        self._waiting += 1
        try:
            async with asyncio.timeout(patience), self._places:
                status, answer = await self._sent(request, most)
        except TimeoutError:
            self._breaker.failed()
            raise Trouble(f"no answer within {patience:g} s") from None
        except Trouble:
            self._breaker.failed()
            raise
        finally:
            self._waiting -= 1
        if status >= 500:
            # An error in a policy is of one question, and says nothing of the next.
            (self._breaker.answered if status == 500 else self._breaker.failed)()
            raise _refusal(status, answer)
        self._breaker.answered()
        if status != 200:
            raise _refusal(status, answer)
        return answer

    async def _sent(self, request: _Request, most: int) -> tuple[int, bytes]:
        from aiohttp import ClientConnectorError, ClientError, ClientOSError, ServerDisconnectedError

        try:
            try:
                return await self._once(request, most)
            except (ServerDisconnectedError, ClientOSError) as error:
                if isinstance(error, ClientConnectorError):
                    raise
                # A connection that was kept was closed by the other side just now. Asking twice changes nothing there.
                return await self._once(request, most)
        except ssl.SSLError as error:
            raise Trouble(f"no TLS with it ({type(error).__name__})") from None
        except TimeoutError:
            raise
        except (ClientError, OSError, ValueError, RuntimeError) as error:
            # What it says may hold the URL or a header. `RuntimeError`: closed meanwhile by a reload.
            raise Trouble(f"it cannot be reached ({type(error).__name__})") from None

    async def _once(self, request: _Request, most: int) -> tuple[int, bytes]:
        from yarl import URL

        method, path, body = request
        headers = {"Content-Type": "application/json"} if body else {}
        if self._way.token is not None:
            headers["Authorization"] = f"Bearer {self._way.token}"
        async with self._way.session.request(
            method, URL(self._way.base + path, encoded=True), headers=headers, data=body or None,
            ssl=self._way.tls or True, allow_redirects=False,
        ) as answer:  # fmt: skip
            text = bytearray()
            async for piece in answer.content.iter_chunked(64 * 1024):
                text += piece
                if len(text) > most:
                    raise Trouble(f"it answers with more than {most} bytes")
            return answer.status, bytes(text)


_DATA = msgspec.json.Decoder(Told)
_MODULES = msgspec.json.Decoder(_Modules)
_ERRORS = msgspec.json.Decoder(_Error)


def _decoded(decode: Callable[[bytes | Raw], object], text: bytes | Raw) -> object:
    try:
        return decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Trouble("its answer is not what OPA answers") from None


def _refusal(status: int, answer: bytes) -> Trouble:
    """Say what an error means: its status, and OPA's own words, which are about policies, not about what was asked."""
    words = ""
    try:
        error = _ERRORS.decode(answer)
        words = " ".join(f"{error.code}: {error.message}".split())[:_WORDS]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return Trouble(f"status {status}" + (f" ({words})" if words else ""), status)


@asynccontextmanager
async def open_api(settings: OpaSettings, surroundings: Surroundings) -> AsyncGenerator[Api]:
    """Open a way to it; nothing is sent.

    Raises:
        SettingsError: the authorities cannot be used.
    """
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar

    bundles = [each for each in (surroundings.ca_bundle, settings.ca) if each is not None]
    tls = await asyncio.to_thread(_tls, bundles) if settings.url.startswith("https:") else None
    base = "http://opa" if settings.url.startswith("unix:") else settings.url
    token = None if settings.token is None else settings.token.reveal() or None
    async with ClientSession(
        connector=_connector(settings),
        timeout=ClientTimeout(
            total=None
        ),  # each call has its own deadline, which its wait for a place is within
        cookie_jar=DummyCookieJar(),
        # What is packed is not unpacked: a few kB could become more than there is memory.
        headers={"Accept-Encoding": "identity", "User-Agent": "tidegate"},
        auto_decompress=False,
    ) as session:
        yield Api(Way(session, base, tls, token), settings)


def _connector(settings: OpaSettings) -> BaseConnector:
    from aiohttp import TCPConnector, UnixConnector

    if settings.url.startswith("unix:"):
        return UnixConnector(settings.url.removeprefix("unix://"), limit=settings.at_once)
    return TCPConnector(limit=settings.at_once)


def _tls(bundles: Sequence[Path]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for bundle in bundles:
        try:
            context.load_verify_locations(cafile=str(bundle))
        except OSError as error:
            why = error.strerror if not isinstance(error, ssl.SSLError) else "it holds no certificate"
            raise SettingsError(f"the authorities in {bundle} cannot be used: {why}") from error
    return context
