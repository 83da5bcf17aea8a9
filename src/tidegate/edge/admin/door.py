"""Door: who gets to the admin API, and how much of it. Decides before anything of the API is imported.

What a web page could have a browser send without being asked is refused, whoever the browser speaks for.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tidegate.domain.errors import (
    Forbidden,
    Overloaded,
    Refusal,
    StateError,
    StateRefused,
    TooLarge,
    WrongMediaType,
)
from tidegate.domain.principal import Principal
from tidegate.edge import asgi
from tidegate.edge.admin import problem
from tidegate.edge.asgi import Application, Receive, Scope, Send
from tidegate.edge.guard import Guard
from tidegate.edge.resources import ADMIN, Resources, no_challenge, of_page
from tidegate.ports.identity import Credentials, Vouched
from tidegate.telemetry import log

MAX_BODY = 64 * 1024
"""Bytes of a request: all there is to say are names, numbers and a reason."""
RATE, BURST = 20.0, 100.0
"""Requests a second of one principal, and at once: a table that is looked at, not a load."""
_PRINCIPALS = 256
_AT_ONCE = 64
"""Requests under way, event streams among them."""
_LOOK = 1.0
"""Seconds from one look at who is being answered to the next, where there is more to say."""
_OWN = (b"same-origin", b"none")
"""`Sec-Fetch-Site` of what no other page asked for (Fetch Metadata)."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, and by which way."""

    principal: Principal
    via: str
    """`control` or `api`."""
    credential: str = ""
    peer: str = ""

    def met(self, scope: Scope) -> Actor:
        """Give whoever asks in this one's name on a connection of a Unix socket: root may, beside its owner."""
        client = scope.get("client")
        peer = str(client[0]) if client else ""
        number = peer.removeprefix("uid:")
        if number == peer or not number.isdecimal():
            return self
        if int(number) == os.getuid():
            return replace(self, peer=peer)
        return replace(self, principal=replace(self.principal, subject=_user(int(number))), peer=peer)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


class Gatekeeper(Protocol):
    """Who vouches, and keeps what was refused."""

    async def vouch(self, credentials: Credentials) -> Vouched:
        """Vouch for who asks, or raise Unauthenticated or StateError."""
        ...

    def turn_away(self, path: str, peer: str, refusal: Refusal, vouched: Vouched | None) -> None:
        """Record that somebody was refused."""
        ...


class Door:
    """Serves `/api/` to administrators."""

    def __init__(
        self,
        keeper: Gatekeeper,
        guard: Callable[[], Guard],
        open_api: Callable[[], Application],
        operator: Vouched | None = None,
        resources: Callable[[], Resources | None] = lambda: None,
    ) -> None:
        """`guard` gives the listener's, as it is now; `open_api` imports and makes the API, in a thread; `operator` is everyone who asks here, if anyone is;
        `resources` gives what the gateway is to clients that bring tokens, as it is now."""
        self._keeper = keeper
        self._guard = guard
        self._open_api = open_api
        self._operator = operator
        self._resources = resources
        self._api: Application | None = None
        self._opening = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By principal: what was left to it, and when."""
        self._under_way = 0

    @property
    def opened(self) -> bool:
        """Whether the API was asked for, and is imported."""
        return self._api is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or say why not."""
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        client = scope.get("client")
        peer = "control" if self._operator else self._guard().peer(client[0] if client else "", headers)
        vouched = None
        try:
            self._check_origin(headers)
            credentials = self._credentials(scope, headers, peer)
            vouched = await self._vouch(credentials)
            if "admin" not in vouched.principal.roles:
                raise Forbidden("this needs the role admin")
            self._spend(vouched.principal)
            receive = await self._bounded(scope, headers, receive)
        except Refusal as refusal:
            self._keeper.turn_away(scope["path"], peer, refusal, vouched)
            await refuse(send, refusal, self._resources())
            return
        actor = Actor(
            vouched.principal, "control" if self._operator else "api", vouched.credential[:64], peer
        )
        scope["state"] = {"actor": actor.met(scope) if self._operator else actor}
        self._under_way += 1
        try:
            await self._serve(scope, receive, send, credentials)
        finally:
            self._under_way -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send, credentials: Credentials) -> None:
        began = over = False
        tenant = scope["state"]["actor"].principal.tenant
        looked = self._clock()

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal began, over, looked
            if self._clock() - looked >= _LOOK:
                looked = self._clock()
                if not await self._may_still(credentials, tenant):
                    over = True
                    raise ConnectionAbortedError("whoever asked is no administrator any more")
            began = True
            await send(message)

        try:
            api = self._api or await self._opened()
            await api(scope, receive, sending)
        except Exception as error:
            if over:
                await self._let_go(send, began)
                return
            log().error("edge.failed", path=scope["path"][:100], exc_info=error)
            if began:
                raise
            await _send(send, 500, problem.body(500, "refused", "internal error"))

    async def _may_still(self, credentials: Credentials, tenant: str) -> bool:
        """Tell whether credentials are the same tenant's administrator's yet: a key may have been revoked since it asked."""
        try:
            principal = (await self._vouch(credentials)).principal
            return "admin" in principal.roles and principal.tenant == tenant
        except Refusal:
            return False

    async def _let_go(self, send: Send, began: bool) -> None:
        if began:
            await send({"type": "http.response.body", "body": b""})
        else:
            await refuse(send, Forbidden("this needs the role admin"), None)

    async def _opened(self) -> Application:
        """Import the API, beside the loop: it takes longer than a call may be held up."""
        async with self._opening:
            if self._api is None:
                self._api = await asyncio.to_thread(self._open_api)
        return self._api

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        self._guard().check(headers)
        site = headers.get(b"sec-fetch-site")
        if site is not None and site.lower() not in _OWN:
            raise Forbidden("a page of another site asks for this")

    def _credentials(self, scope: Scope, headers: Mapping[bytes, bytes], peer: str) -> Credentials:
        if self._operator is not None:
            return Credentials(headers.get(b"authorization"), peer)
        return of_page(asgi.exchange_of(scope), self._resources(), self._guard(), peer)

    async def _vouch(self, credentials: Credentials) -> Vouched:
        if self._operator is not None:
            return self._operator
        try:
            return await self._keeper.vouch(credentials)
        except StateError as error:
            raise StateRefused(str(error)) from error

    def _spend(self, principal: Principal) -> None:
        now = self._clock()
        left, at = self._spent.pop(principal.key, (BURST, now))
        left = min(BURST, left + (now - at) * RATE)
        self._spent[principal.key] = max(0.0, left - 1), now
        if len(self._spent) > _PRINCIPALS:
            self._spent.popitem(last=False)
        if left < 1:
            raise Overloaded(f"more than {RATE:.0f} requests a second; try again in a second")
        if self._under_way >= _AT_ONCE:
            raise Overloaded("too much is asked for at one time; try again in a second")

    async def _bounded(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> Receive:
        """Take the body, where it is one that only somebody who means it can have sent.

        A form of another page can send any body but none that says it is JSON, and no DELETE (Fetch, CORS-safelisted).
        """
        if scope["method"] in ("GET", "HEAD"):
            return receive
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json" and scope["method"] != "DELETE":
            raise WrongMediaType("Content-Type must be application/json")
        message = await receive()
        if len(message.get("body", b"")) > MAX_BODY:
            raise TooLarge(f"the body is larger than {MAX_BODY} bytes")
        given = False

        async def again() -> MutableMapping[str, Any]:
            nonlocal given
            if given:
                return await receive()
            given = True
            return message

        return again


async def refuse(send: Send, refusal: Refusal, resources: Resources | None) -> None:
    """Answer with a refusal."""
    told = problem.as_problem(refusal)
    more = [*(resources.challenge(ADMIN, refusal) if resources else no_challenge(refusal))]
    if told.status == 429:
        more.append((b"retry-after", b"1"))
    await _send(send, told.status, problem.body(told.status, told.reason, str(told)), more)


async def _send(
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    status: int,
    body: bytes,
    more: list[tuple[bytes, bytes]] | None = None,
) -> None:
    headers = [(b"content-type", problem.KIND.encode()), (b"cache-control", b"no-store"), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
