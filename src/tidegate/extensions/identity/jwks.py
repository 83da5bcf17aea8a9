"""Keys of issuers: read, kept current in the background, and used to see whether a signature is theirs.

One task fetches (`Keys.run`); whoever needs keys waits for it, so a thousand tokens cause one request. Made-up key
names cause one in `COOLDOWN` seconds at most. Knows no claims.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from tidegate.domain.errors import IdentityUnavailable, Unauthenticated
from tidegate.extensions.identity.compact import Malformed, decode, json_object
from tidegate.extensions.identity.web import Unreachable

MOST_KEYS = 100
"""Keys of one issuer. Those in use have up to 20, with the ones that were and those that will be."""
COOLDOWN = 15.0
"""Seconds after a look for an unknown key in which no other is made."""
PATIENCE = 12.0
"""Seconds that a token waits for keys: an answer may take 10."""
LEAST = 60.0
"""Seconds for which keys are taken without looking again, whatever the issuer says."""
UNSAID = 600.0
"""Seconds where the issuer says nothing."""
_SOON = 0.8
"""Part of the time that keys are fresh after which they are looked at again."""
_RETRY = (2.0, 60.0)
"""Seconds between attempts while they fail: the first, doubled up to the last."""
_TRIED = 4
"""Keys that a signature without a key's name is tried with."""
_SMALLEST, _LARGEST = 2048, 8192
"""Bits of an RSA key: fewer can be broken (NIST SP 800-131A), more cost the one who verifies."""

_EC = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
ALGORITHMS = _RSA | frozenset(_EC.values()) | {"EdDSA", "Ed25519"}
"""All that may ever be: none of them works with a secret that both sides have (RFC 8725, 3.1)."""
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_NO_CACHE = re.compile(r"(?:^|[,\s])(?:no-store|no-cache)\b", re.IGNORECASE)

_PublicKey: TypeAlias = "RSAKey | ECKey | OKPKey"


class Tell(Protocol):
    """Takes what is to be logged: the name of an event, and fields."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Take one."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """A key set as it came, with the headers (in lower case) that came with it."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """One public key, and what it may be used with."""

    kid: str | None
    algorithms: frozenset[str]
    digest: str
    """Tells it from others, whatever they are called."""
    key: _PublicKey

    def verify(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Tell whether a signature is this key's."""
        if algorithm not in self.algorithms:
            return False
        model = JWSRegistry.algorithms[algorithm]
        try:
            model.check_key(self.key)
            return model.verify(signed, signature, self.key)
        except (JoseError, ValueError):
            return False


@dataclass(frozen=True, slots=True)
class Bounds:
    """For how long keys are taken. In seconds."""

    fresh: float = 3600.0
    """Without looking again, at most: a key that the issuer takes back stops after that time."""
    outage: float = 12 * 3600.0
    """While the issuer does not answer."""


@dataclass(frozen=True, slots=True)
class _Held:
    keys: tuple[VerifyKey, ...]
    fresh: float
    """Until when they are taken without looking again."""
    last: float
    """Until when they are taken at all."""

    def pick(self, kid: str | None, algorithm: str) -> tuple[VerifyKey, ...]:
        fit = [key for key in self.keys if algorithm in key.algorithms]
        if kid is not None:
            return tuple(key for key in fit if key.kid == kid)[:_TRIED]
        return tuple(fit) if len(fit) <= _TRIED else ()


class Keys:
    """The keys of one issuer. `run` must go on as long as they are used."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Fetched]],
        *,
        name: str,
        tell: Tell,
        clock: Callable[[], float],
        bounds: Bounds | None = None,
        usable: Callable[[Mapping[str, object]], bool] | None = None,
    ) -> None:
        """`name` is what the log and errors call the issuer; `usable` chooses among keys, by their JWK."""
        self._fetch = fetch
        self._name = name
        self._tell = tell
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._usable = usable or for_signatures
        self._held: _Held | None = None
        self._tried = float("-inf")
        self._failed = 0
        """Attempts that failed since the last that did not."""
        self._busy = False
        self._version = 0
        self._wanted = asyncio.Event()
        self._attempt: asyncio.Future[None] | None = None

    @property
    def version(self) -> int:
        """Changes when a key was taken back."""
        return self._version

    @property
    def last(self) -> float:
        """Until when what was verified holds if the issuer never answers again (Unix seconds)."""
        return self._held.last if self._held is not None else self._clock()

    async def find(self, kid: str | None, algorithm: str) -> tuple[VerifyKey, ...]:
        """Give the keys that a signature may be of. Looks again for one that is not known.

        Raises:
            Unauthenticated: the issuer has no such key.
            IdentityUnavailable: the issuer does not answer, so nobody can tell.
        """
        if self._overdue():
            await self._next()
        held = self._usable_now()
        found = held.pick(kid, algorithm)
        if not found and (self._busy or self._clock() >= self._tried + COOLDOWN):
            await self._next()
            held = self._usable_now()
            found = held.pick(kid, algorithm)
        if found:
            return found
        if self._failed:
            raise IdentityUnavailable(
                f"the issuer {self._name} does not answer, and the token's key is not known"
            )
        raise Unauthenticated("the token is signed with a key that its issuer does not have")

    def _overdue(self) -> bool:
        """Tell whether somebody has to look before anything is believed: at first, and after the machine slept."""
        now = self._clock()
        if self._held is None or now >= self._held.last:
            return self._busy or not self._failed or now >= self._tried + COOLDOWN
        return now >= self._held.fresh and now >= self._tried + _RETRY[1] * 2

    def _usable_now(self) -> _Held:
        if self._held is None or self._clock() >= self._held.last:
            raise IdentityUnavailable(f"the keys of the issuer {self._name} cannot be had now")
        return self._held

    async def _next(self) -> None:
        """Wait for the attempt that is under way, or else for the next, for a bounded time."""
        if self._attempt is None:
            self._attempt = asyncio.get_running_loop().create_future()
        self._wanted.set()
        await asyncio.wait([self._attempt], timeout=PATIENCE)

    async def run(self) -> None:
        """Keep the keys current until cancelled."""
        try:
            while True:
                await self.refresh()
                self._wanted.clear()  # whoever came during the attempt has waited for it and asks for no other
                try:
                    async with asyncio.timeout(self.due()):
                        await self._wanted.wait()
                except TimeoutError:
                    pass
        finally:
            self._end_attempt()

    def due(self) -> float:
        """Give the seconds until the keys are looked at again without anybody asking."""
        spread = random.uniform(0.9, 1.0)  # noqa: S311 - spreads load; nothing is kept secret by it
        if self._failed or self._held is None:
            return min(_RETRY[0] * 2 ** min(self._failed - 1, 10), _RETRY[1]) * spread
        return max(0.0, self._held.fresh - self._clock()) * _SOON * spread

    async def refresh(self) -> None:
        """Look once. What is there stays where nothing comes, or nothing that can be used."""
        self._busy = True
        try:
            fetched = await self._fetch()
            # In a thread: a hundred keys take some 10 ms, in which no call would go on.
            self._take(fetched, await asyncio.to_thread(read, fetched.body, self._usable))
        except Unreachable as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end all later looks
            self._fail(f"a fault of ours ({type(error).__name__})")
        finally:
            self._busy = False
            self._tried = self._clock()
            self._end_attempt()

    def _end_attempt(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None and not attempt.done():
            attempt.set_result(None)

    def _take(self, fetched: Fetched, keys: tuple[VerifyKey, ...]) -> None:
        now, before = self._clock(), self._held
        fresh = lifetime(fetched.headers, self._bounds.fresh)
        self._held = _Held(keys, now + fresh, now + max(self._bounds.outage, fresh))
        self._failed = 0
        old, new = _digests(before.keys if before else ()), _digests(keys)
        if old - new:
            self._version += 1
        if old != new or before is None:
            self._tell("identity.keys_refreshed", issuer=self._name, keys=len(keys), gone=len(old - new))

    def _fail(self, reason: str) -> None:
        self._failed += 1
        if self._failed & (self._failed - 1) == 0:  # the 1st, 2nd, 4th, 8th, …
            self._tell("identity.unavailable", issuer=self._name, reason=reason, attempts=self._failed)


def for_signatures(jwk: Mapping[str, object]) -> bool:
    """Tell whether a key is for signatures, or said to be for nothing in particular (RFC 7517, 4.2 and 4.3)."""
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def read(body: bytes, usable: Callable[[Mapping[str, object]], bool]) -> tuple[VerifyKey, ...]:
    """Read a key set (RFC 7517, 5). Keys that cannot be used are left out; there may be none left.

    Raises:
        Unreachable: it is no key set.
    """
    try:
        found = json_object(body).get("keys")
    except Malformed:
        raise Unreachable("what it gave for its keys is not JSON") from None
    if not isinstance(found, list):
        raise Unreachable("what it gave is no key set")
    given = cast("list[object]", found)
    if len(given) > MOST_KEYS:
        raise Unreachable(f"it has more than {MOST_KEYS} keys")
    jwks = [cast("dict[str, object]", each) for each in given if isinstance(each, dict)]
    keys = [_key(jwk) for jwk in jwks if usable(jwk)]
    return tuple(key for key in keys if key is not None)


def _key(jwk: Mapping[str, object]) -> VerifyKey | None:
    # One whose private half is published proves nothing; a secret that both sides have is for neither.
    if "d" in jwk or jwk.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    kid = jwk.get("kid")
    if not isinstance(kid, str | None) or (kid is not None and not 0 < len(kid) <= 512):
        return None
    try:
        key, algorithms = _import(jwk)
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if "alg" in jwk:
        algorithms &= {str(jwk["alg"])}
    if not algorithms:
        return None
    digest = hashlib.sha256(f"{kid}\0{key.thumbprint()}\0{sorted(algorithms)}".encode()).hexdigest()
    return VerifyKey(kid, algorithms, digest, key)


def _import(jwk: Mapping[str, object]) -> tuple[_PublicKey, frozenset[str]]:
    """Give a key with all that keys of its kind may be used with (RFC 7518, 3.1; RFC 8037; RFC 9864)."""
    if jwk["kty"] == "RSA":
        bits = int.from_bytes(decode(str(jwk["n"]))).bit_length()
        if not _SMALLEST <= bits <= _LARGEST or len(str(jwk["e"])) > 8:
            raise ValueError("an RSA key of an odd size")
        return RSAKey.import_key(_only(jwk, "n", "e")), _RSA
    curve = str(jwk["crv"])
    if jwk["kty"] == "EC":
        return ECKey.import_key(_only(jwk, "crv", "x", "y")), frozenset({_EC[curve]})
    if curve != "Ed25519":
        raise ValueError("another curve")
    return OKPKey.import_key(_only(jwk, "crv", "x")), frozenset({"EdDSA", "Ed25519"})


def _only(jwk: Mapping[str, object], *names: str) -> dict[str, str | list[str]]:
    return {"kty": str(jwk["kty"]), **{name: str(jwk[name]) for name in names}}


def lifetime(headers: Mapping[str, str], most: float) -> float:
    """Give for how long (seconds) an answer is fresh, by its headers and within our bounds (RFC 9111, 4.2)."""
    said = headers.get("cache-control", "")
    match = _MAX_AGE.search(said)
    if _NO_CACHE.search(said):
        seconds = 0.0
    elif match is None:
        seconds = UNSAID
    else:
        age = headers.get("age", "0").strip()
        seconds = float(match[1]) - (float(age) if age.isdecimal() and len(age) < 10 else 0.0)
    return min(max(seconds, LEAST), most)


def _digests(keys: Iterable[VerifyKey]) -> frozenset[str]:
    return frozenset(key.digest for key in keys)
