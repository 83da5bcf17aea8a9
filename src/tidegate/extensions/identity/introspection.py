"""Introspection: opaque tokens, of which only the authorization server knows what they are (RFC 7662).

A token is asked about once at a time. Answers are kept for a short while, bad ones apart and for a shorter one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote_plus

from tidegate.domain.errors import IdentityUnavailable, Unauthenticated
from tidegate.domain.server import Secret
from tidegate.extensions.identity.claims import Claims
from tidegate.extensions.identity.compact import Malformed, bearer, json_object, take_apart
from tidegate.extensions.identity.confirmation import Bind, Presented, confirmation_of, refuse_bound
from tidegate.extensions.identity.discovery import discover
from tidegate.extensions.identity.jwks import Tell
from tidegate.extensions.identity.jwt import (
    Mapped,
    Trust,
    check_audience,
    check_required,
    check_times,
    credential_of,
)
from tidegate.extensions.identity.web import Answer, Unreachable, Web, is_loopback_url, safe_url
from tidegate.ports.identity import Credentials, Vouched

MOST_GOOD = 8192
MOST_BAD = 1024
"""Answers kept: bad ones apart, so that guesses push out no good one."""
BAD_AGE = 5.0
"""Seconds a bad answer is kept: not every part of the server may know a new token yet."""
AT_ONCE = 32
"""Questions under way. Who comes later waits, `PATIENCE` seconds at most."""
PATIENCE = 10.0
REST = 1.0
"""Seconds after a failure in which the server is not asked."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, 2.1."""
_OURS = "tg_"
"""How API keys begin: they are nobody else's to see."""


_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """As whom to ask, and where."""

    id: str
    secret: Secret | str
    method: str = "basic"
    """`basic` or `post` (RFC 6749, 2.3.1)."""
    url: str | None = None
    """None: where the issuer's metadata says."""
    kept: float = 60.0
    """Seconds a good answer is kept at most: a token that was taken back stops after that time."""

    def headers(self) -> Mapping[str, str]:
        """Give the headers to ask with."""
        if self.method != "basic":
            return {}
        pair = f"{quote_plus(self.id)}:{quote_plus(self._revealed())}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def form(self, token: str) -> Mapping[str, str]:
        """Give what is asked."""
        form = {"token": token, "token_type_hint": "access_token"}
        if self.method != "basic":
            form |= {"client_id": self.id, "client_secret": self._revealed()}
        return form

    def _revealed(self) -> str:
        return self.secret.reveal() if isinstance(self.secret, Secret) else self.secret


class IntrospectionIdentity:
    """Vouches for tokens that an authorization server says are active. Takes every token that is no one else's."""

    def __init__(
        self,
        trust: Trust,
        client: Client,
        web: Web,
        mapping: Mapped,
        *,
        tell: Tell,
        clock: Callable[[], float],
        bind: Bind = refuse_bound,
    ) -> None:
        self._trust = trust
        self._client = client
        self._web = web
        self._mapping = mapping
        self._tell = tell
        self._clock = clock
        self._bind = bind
        self._url = client.url
        self._good: OrderedDict[bytes, tuple[Claims, float]] = OrderedDict()
        self._bad: OrderedDict[bytes, float] = OrderedDict()
        self._asking: dict[bytes, asyncio.Lock] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._down_until = 0.0
        self._down = False

    @property
    def version(self) -> int:
        """Never changes: answers are kept for a short while only."""
        return 0

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        """Vouch for whom a token is about; None for what is no token of this server.

        Raises:
            Unauthenticated: the server says that it is not active, or it is not for us.
            IdentityUnavailable: the server does not answer.
        """
        sent = bearer(credentials.authorization)
        if sent is None or not self._may_be_ours(sent[1]):
            return None
        scheme, token = sent
        claims, until = await self._claims(token, credentials.may_guess)
        trust = self._trust
        if claims.get("iss", trust.name) not in trust.issuers:
            raise Unauthenticated("the token is of another issuer")
        if claims.get("exp") is not None:
            until = min(until, check_times(claims, self._clock(), trust.leeway, trust.longest))
        check_audience(claims, trust, credentials.resource)
        check_required(claims, trust)
        prove = self._bind(Presented(token, scheme, confirmation_of(claims)))
        principal = self._mapping.principal(trust.name, claims)
        return Vouched(principal, until, credential_of(claims, token), self._mapping.granted(claims), prove)

    def _may_be_ours(self, token: str) -> bool:
        """Tell whether a token may be this server's.

        Raises:
            Unauthenticated: it says itself that it is over. Nobody is asked: clients send such, and guess nothing by it.
        """
        if token.startswith(_OURS) or not _TOKEN.fullmatch(token):
            return False
        apart = take_apart(token)
        if apart is None:
            return True
        issuer, ends = apart.claims.get("iss"), apart.claims.get("exp")
        if issuer is not None and not (isinstance(issuer, str) and issuer in self._trust.issuers):
            return False
        if isinstance(ends, int | float) and self._clock() >= ends + self._trust.leeway:
            raise Unauthenticated("the token has expired")
        return True

    async def _claims(self, token: str, may_guess: Callable[[], None] | None) -> tuple[Claims, float]:
        """Give what the server says of a token, and until when that may be taken."""
        key = hashlib.sha256(token.encode()).digest()
        kept = self._kept(key)
        if kept is not None:
            return kept
        lock = self._asking.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout(PATIENCE), lock:
                kept = self._kept(key)
                return kept if kept is not None else await self._answer(key, token, may_guess)
        except TimeoutError:
            raise self._unavailable("it does not answer in time") from None
        finally:
            if not lock.locked():
                self._asking.pop(key, None)

    def _kept(self, key: bytes) -> tuple[Claims, float] | None:
        now = self._clock()
        good = self._good.get(key)
        if good is not None:
            if now < good[1]:
                self._good.move_to_end(key)
                return good
            del self._good[key]
        if self._bad.get(key, 0.0) > now:
            raise _inactive()
        return None

    async def _answer(
        self, key: bytes, token: str, may_guess: Callable[[], None] | None
    ) -> tuple[Claims, float]:
        if self._clock() < self._down_until:
            raise IdentityUnavailable(f"the issuer {self._trust.name} does not answer")
        try:
            async with self._places:
                if may_guess is not None:  # here, since what waited with it may have been wrong meanwhile
                    may_guess()
                claims = await self._ask(token)
        except Unreachable as error:
            raise self._unavailable(str(error)) from error
        self._down = False
        now = self._clock()
        if claims.get("active") is not True:
            _keep(self._bad, key, now + BAD_AGE, MOST_BAD)
            raise _inactive()
        found = claims, now + self._client.kept
        _keep(self._good, key, found, MOST_GOOD)
        return found

    async def _ask(self, token: str) -> Claims:
        if self._url is None:
            found = (await discover(self._web, self._trust.name)).introspection_endpoint
            if found is None:
                raise Unreachable("its metadata names no introspection_endpoint")
            self._url = found
        url = safe_url(self._url, plain=is_loopback_url(self._client.url or self._trust.name))
        return _read(await self._web.post(url, self._client.form(token), self._client.headers()))

    def _unavailable(self, reason: str) -> IdentityUnavailable:
        self._down_until = self._clock() + REST
        if not self._down:
            self._down = True
            self._tell("identity.unavailable", issuer=self._trust.name, reason=reason, attempts=1)
        return IdentityUnavailable(f"the issuer {self._trust.name} does not answer")


def _read(answer: Answer) -> Claims:
    if answer.status == 401:
        raise Unreachable("it does not take the gateway's own client_id and client_secret")
    if answer.status != 200:
        raise Unreachable(f"it answered with status {answer.status}")
    try:
        return json_object(answer.body)
    except Malformed:
        raise Unreachable("its answer is not JSON") from None


def _inactive() -> Unauthenticated:
    return Unauthenticated("the token is not active", guess=True)


def _keep(kept: OrderedDict[bytes, _Value], key: bytes, value: _Value, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
