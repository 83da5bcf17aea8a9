"""DPoP (RFC 9449): whoever sends a token signs, for each request, that it has the key that the token is bound to.

Judges proofs and nothing else: whether a token is good, and what its sender may do, is decided elsewhere. Asks nobody.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import SplitResult, urlsplit

import msgspec

from tidegate.domain.errors import IdentityUnavailable, Unauthenticated
from tidegate.extensions.identity.compact import Malformed, decode, json_object
from tidegate.extensions.identity.jwks import VerifyKey, read
from tidegate.extensions.identity.web import Unreachable
from tidegate.ports.identity import Credentials

ALGORITHMS = ("ES256", "ES384", "EdDSA", "Ed25519", "PS256", "RS256")
"""That may be taken: asymmetric all, since the verifier must not be able to sign (RFC 9449, 4.2)."""
LONGEST = 8 * 1024
"""Characters of a proof; one with an RSA key of 4096 bits has 1,800."""
MOST_KEYS = 1024
"""Clients' keys that are kept read."""
MOST_SEEN = 1 << 18
"""Proofs that are remembered for one length of the window: 2,000 a second and more."""
_SHARE = 4
"""One client takes at most this part of the places, so that it can take nobody else's."""
TURN = 300.0
"""Seconds for which a nonce is given out; it is taken for as long again."""
_AHEAD = 5.0
"""Seconds that a client's clock may be ahead."""
_NAME = re.compile(r"[\x21-\x7e]{1,256}")
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked of proofs."""

    algorithms: frozenset[str] = frozenset(ALGORITHMS)
    window: float = 60.0
    """Seconds for which a proof is good."""


@dataclass(frozen=True, slots=True)
class _Key:
    algorithm: str
    thumbprint: str
    key: VerifyKey


class _Claims(msgspec.Struct, frozen=True, gc=False):
    jti: str
    htm: str
    htu: str
    iat: float
    ath: str
    nonce: str | None = None


_READ = msgspec.json.Decoder(_Claims)


class Nonces:
    """Words that proofs have to hold, so that none can be made in advance: from a key and the time, kept nowhere."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        """`key` is this gateway's own: a proof that was made for it is then good at no other."""
        self._key = key
        self._clock = clock
        self._turned: int = -1
        self._now = self._before = ""

    def now(self) -> str:
        """Give the word of the hour."""
        self._catch_up()
        return self._now

    def takes(self, word: str | None) -> bool:
        """Tell whether a word is the one of now or the one before."""
        self._catch_up()
        if word is None or not word.isascii():
            return False
        return hmac.compare_digest(word, self._now) or hmac.compare_digest(word, self._before)

    def _catch_up(self) -> None:
        turn = int(self._clock() // TURN)
        if turn != self._turned:
            self._turned, self._now, self._before = turn, self._word(turn), self._word(turn - 1)

    def _word(self, turn: int) -> str:
        found = hmac.digest(self._key, b"dpop nonce %d" % turn, "sha256")[:18]
        return base64.urlsafe_b64encode(found).decode()


class Seen:
    """Proofs that were used. What is forgotten could not be used any more anyway."""

    def __init__(self, lifetime: float, clock: Callable[[], float], most: int = MOST_SEEN) -> None:
        """`lifetime` is how long after it was first seen a proof may be good at most, in seconds."""
        self._most = most
        self._lifetime = lifetime
        self._clock = clock
        self._since = clock()
        self._now: set[bytes] = set()
        self._before: set[bytes] = set()
        self._of_key: dict[str, int] = {}

    def add(self, thumbprint: str, name: str) -> bool:
        """Remember a proof by its key and its own name. False where it was there before.

        Raises:
            IdentityUnavailable: no more can be remembered now, and what is forgotten could come again.
        """
        self._turn()
        proof = hashlib.sha256(f"{thumbprint}{name}".encode()).digest()[:16]
        if proof in self._now or proof in self._before:
            return False
        used = self._of_key.get(thumbprint, 0)
        if len(self._now) >= self._most or used >= self._most // _SHARE:
            raise IdentityUnavailable("more proofs came than are remembered; try again in a minute")
        self._now.add(proof)
        self._of_key[thumbprint] = used + 1
        return True

    def _turn(self) -> None:
        """Forget what came before the last turn: each is remembered for one lifetime at least, two at most."""
        now = self._clock()
        if now < self._since + self._lifetime:
            return
        self._before = self._now if now < self._since + 2 * self._lifetime else set()
        self._now, self._of_key, self._since = set(), {}, now


class Proofs:
    """Sees whether proofs are good."""

    def __init__(self, terms: Terms, clock: Callable[[], float], nonces: Nonces | None = None) -> None:
        """`clock` gives Unix seconds. Without `nonces` a proof needs none."""
        self._terms = terms
        self._clock = clock
        self._nonces = nonces
        self._seen = Seen(terms.window + _AHEAD, clock)
        self._keys: OrderedDict[str, _Key] = OrderedDict()
        """By the header of the proofs of each client, which stays the same."""

    def check(self, credentials: Credentials, thumbprint: str, token_hash: str) -> None:
        """See that a request was signed by whoever has the key, for this request and this token, now and once.

        Raises:
            Unauthenticated: it was not.
            IdentityUnavailable: it cannot be told whether for the first time.
        """
        header, payload, signature = _parts(credentials.proof)
        key = self._keys.get(header)
        if key is None:
            key = self._read(header)
        if key.thumbprint != thumbprint:
            raise _wrong("is of another key than the one that the token is bound to")
        if not _is_signed(key, f"{header}.{payload}".encode(), signature):
            raise _wrong("is not signed with its key")
        self._keep(header, key)
        self._check_claims(_claims(payload), credentials, thumbprint, token_hash)

    def _check_claims(
        self, claims: _Claims, credentials: Credentials, thumbprint: str, token_hash: str
    ) -> None:
        if claims.htm != credentials.method:
            raise _wrong("is for another method")
        if not same_url(claims.htu, credentials.url or credentials.resource):
            raise _wrong("is for another URL")
        if claims.ath != token_hash:
            raise _wrong("is for another token")
        if not -_AHEAD <= self._clock() - claims.iat <= self._terms.window:
            raise _wrong("is too old, or a clock is wrong")
        if not _NAME.fullmatch(claims.jti):
            raise _wrong("has no name of its own (jti)")
        nonces = self._nonces
        if nonces is not None and not nonces.takes(claims.nonce):
            raise Unauthenticated(
                "the proof has to hold the nonce that comes with this answer",
                error="use_dpop_nonce",
                nonce=nonces.now(),
            )
        if not self._seen.add(thumbprint, claims.jti):
            raise _wrong("was used before")

    def _read(self, header: str) -> _Key:
        try:
            found = json_object(decode(header))
        except Malformed:
            raise _wrong("is no signed JWT") from None
        algorithm, jwk = found.get("alg"), found.get("jwk")
        if found.get("typ") != "dpop+jwt":
            raise _wrong("is of another type")
        if not isinstance(algorithm, str) or algorithm not in self._terms.algorithms:
            raise _wrong("is signed in a way that is not taken")
        if "crit" in found or "b64" in found:
            raise _wrong("asks for what is not understood")
        if not isinstance(jwk, dict) or _PRIVATE & (given := cast("dict[str, object]", jwk)).keys():
            raise _wrong("does not bring the public half of its key")
        try:
            keys = read(msgspec.json.encode({"keys": [given]}), lambda _: True)
        except (ValueError, OverflowError, Unreachable):  # half a character, a number of a thousand digits
            keys = ()
        if not keys or algorithm not in keys[0].algorithms:
            raise _wrong("brings a key that cannot be used")
        return _Key(algorithm, keys[0].key.thumbprint(), keys[0])

    def _keep(self, header: str, key: _Key) -> None:
        self._keys[header] = key
        self._keys.move_to_end(header)
        if len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)


def token_hash(token: str) -> str:
    """Give what a proof says of its token (`ath`: RFC 9449, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(token.encode("latin-1")).digest()).rstrip(b"=").decode()


def same_url(said: str, asked: str) -> bool:
    """Tell whether two URLs are one (RFC 9449, 4.3: by syntax and scheme, without query and fragment)."""
    if said == asked and "?" not in said and "#" not in said:
        return True
    try:
        return len(said) <= LONGEST and _plain(urlsplit(said)) == _plain(urlsplit(asked))
    except ValueError:
        return False


def _plain(url: SplitResult) -> Sequence[object]:
    if url.username is not None or url.scheme not in _PORTS:
        raise ValueError("no URL of ours")
    path = re.sub(r"%[0-9a-fA-F]{2}", lambda found: found[0].upper(), url.path)
    return url.scheme, url.hostname, url.port or _PORTS[url.scheme], path or "/"


def _parts(proof: bytes | None) -> tuple[str, str, bytes]:
    if proof is None:
        raise _wrong("is missing: the token is bound to a key")
    parts = proof.decode("latin-1").split(".")
    if len(parts) != 3 or len(proof) > LONGEST:
        raise _wrong("is no signed JWT")
    try:
        return parts[0], parts[1], decode(parts[2])
    except Malformed:
        raise _wrong("is no signed JWT") from None


def _claims(payload: str) -> _Claims:
    try:
        return _READ.decode(decode(payload))
    except (ValueError, msgspec.DecodeError):  # a Malformed is one, and what is no UTF-8
        raise _wrong("does not say all that it has to: jti, htm, htu, iat and ath") from None


def _is_signed(key: _Key, signed: bytes, signature: bytes) -> bool:
    return key.key.verify(key.algorithm, signed, signature)


def _wrong(what: str) -> Unauthenticated:
    return Unauthenticated(f"the DPoP proof {what}", error="invalid_dpop_proof")
