"""From credentials to a principal, asking an identity as seldom as that is safe. Decides no right."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NoReturn

from tidegate.domain.errors import Unauthenticated
from tidegate.ports.identity import Credentials, Identity, Known, Vouched

MAX_VOUCHED = 16_384
"""Answers kept: one for each credential and address in use."""
_CROWDED = MAX_VOUCHED // 2
"""Of them, from which on it counts when each was used last."""
MAX_AGE = 300.0
"""Seconds an answer without an end of its own is kept."""
MAX_REFUSED = 1024
"""Refusals kept, apart, so that guesses push out no answer that is good."""
REFUSED_AGE = 5.0
"""Seconds a refusal is kept: a key that was just made must not be refused for long."""
MAX_HEADER = 16 * 1024
"""Bytes of an Authorization header."""
MAX_FAILURES = 30
"""Failed attempts of one address a minute, after which its new credentials are not looked at."""
_MINUTE = 60.0
_MAX_PEERS = 4096

_Key = tuple[bytes | None, str, str, bytes | None]
"""Digest of the header, address, what is asked for, digest of the certificate: all that an identity may look at, but
for the proof, which is looked at for each request."""


@dataclass(slots=True)
class _Failures:
    since: float
    count: int


class Authenticator:
    """Asks identities in order; the first that knows the kind of credentials decides.

    `clock` gives Unix seconds. Credentials are known by their SHA-256, never kept themselves.
    """

    def __init__(self, identities: Sequence[Identity], clock: Callable[[], float]) -> None:
        self._identities = tuple(identities)
        self._only = self._identities[0] if len(self._identities) == 1 else None
        self._clock = clock
        self._kept: OrderedDict[_Key, Known] = OrderedDict()
        self._refused: OrderedDict[_Key, tuple[str, float, int | tuple[int, ...]]] = OrderedDict()
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._known: OrderedDict[_Key, None] = OrderedDict()
        """Whom an identity vouched for before: guesses of others at the same address do not shut them out."""

    def cached(self, credentials: Credentials) -> Vouched | None:
        """Give what was vouched for before and still holds, or None where an identity must be asked.

        Raises:
            Unauthenticated: the credentials are bound to a key, and whoever sent them did not show that it has it.
        """
        known = credentials.known or self._find(credentials)
        if known is None:
            return None
        only = self._only
        if (
            known.version != (self._versions() if only is None else only.version)
            or self._clock() >= known.until
        ):
            return self._let_go(credentials, known)
        vouched = known.vouched
        if vouched.prove is not None and not credentials.proved:
            self._prove(vouched.prove, credentials)
        return vouched

    def _find(self, credentials: Credentials) -> Known | None:
        key = _key(credentials)
        known = self._kept.get(key)
        if known is None:
            return None
        if len(self._kept) > _CROWDED:  # until then nothing is pushed out, and the order costs each call
            self._kept.move_to_end(key)
        elif known.vouched.prove is None:
            credentials.known = known
        return known

    def _let_go(self, credentials: Credentials, known: Known) -> Vouched | None:
        """Forget what holds no more; it may be that others who brought the same were vouched for anew."""
        credentials.known = None
        key = _key(credentials)
        if self._kept.get(key) is not known:
            return self.cached(credentials)
        del self._kept[key]
        return None

    def whose(self, credentials: Credentials) -> str | None:
        """Say whose credentials are that were seen before; it proves nothing. Of those that have to be proved each address
        by itself: who has stolen a token must not be able to use up its owner's turns.
        """
        kept = self._kept.get(_key(credentials))
        if kept is None:
            return None
        vouched = kept.vouched
        key = vouched.principal.key
        return key if vouched.prove is None else f"{key} {credentials.peer}"

    def seen(self, subject: str) -> Sequence[Vouched]:
        """Give what was vouched for of those of a name, and still holds, the latest first: for whoever looks into rights."""
        now, version = self._clock(), self._versions()
        return [
            kept.vouched
            for kept in reversed(self._kept.values())
            if kept.vouched.principal.subject == subject and kept.version == version and now < kept.until
        ]

    async def authenticate(self, credentials: Credentials) -> Vouched:
        """Vouch for who asks.

        Raises:
            Unauthenticated: no credentials, none that are valid, or too many that were not.
            IdentityUnavailable: nobody can tell now whether they are valid.
        """
        vouched = self.cached(credentials)
        if vouched is not None:
            return vouched
        header = credentials.authorization
        if header is not None and len(header) > MAX_HEADER:
            raise Unauthenticated("the Authorization header is too long")
        key = _key(credentials)
        if header is not None or credentials.certificate is not None:
            self._refuse_again(key)
        # Before asking: what changes meanwhile must not be taken for known.
        version = self._versions()
        for identity in self._identities:
            try:
                vouched = await identity.authenticate(credentials)
            except Unauthenticated as error:
                self._fail(key, str(error), version)
            if vouched is not None:
                if vouched.prove is not None and not credentials.proved:
                    self._prove(vouched.prove, credentials)
                self._keep(key, vouched, version)
                return vouched
        if header is None:  # a certificate that nobody here goes by is none either
            raise Unauthenticated("no credentials were sent", error="")
        self._fail(key, "the credentials are of no kind that is accepted here", version)

    def _prove(self, prove: Callable[[Credentials], None], credentials: Credentials) -> None:
        """See that whoever sent a request has its credentials' key. That it has not is no fault of the credentials,
        which may be good in other hands: it is held against the address alone."""
        try:
            prove(credentials)
        except Unauthenticated as error:
            if error.nonce is None:  # else it is told what to send, and has done nothing wrong
                self._count_failure(credentials.peer)
            raise
        credentials.proved = True

    def _versions(self) -> int | tuple[int, ...]:
        if self._only is not None:
            return self._only.version
        return tuple(identity.version for identity in self._identities)

    def _keep(self, key: _Key, vouched: Vouched, version: int | tuple[int, ...]) -> None:
        until = self._clock() + MAX_AGE
        if vouched.expires is not None:
            until = min(until, vouched.expires)
        self._kept[key] = Known(vouched, until, version)
        if len(self._kept) > MAX_VOUCHED:
            self._kept.popitem(last=False)
        self._known[key] = None
        self._known.move_to_end(key)
        if len(self._known) > MAX_VOUCHED:
            self._known.popitem(last=False)

    def _refuse_again(self, key: _Key) -> None:
        now = self._clock()
        refused = self._refused.get(key)
        if refused is not None:
            reason, until, version = refused
            if now < until and version == self._versions():
                raise Unauthenticated(reason)
            del self._refused[key]
        if key in self._known:
            return
        failures = self._failures.get(key[1])
        if failures is not None and failures.count >= MAX_FAILURES and now < failures.since + _MINUTE:
            raise Unauthenticated("too many failed attempts from this address; try again in a minute")

    def _fail(self, key: _Key, reason: str, version: int | tuple[int, ...]) -> NoReturn:
        now = self._clock()
        self._known.pop(key, None)
        self._refused[key] = reason, now + REFUSED_AGE, version
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)
        self._count_failure(key[1])
        raise Unauthenticated(reason)

    def _count_failure(self, peer: str) -> None:
        now = self._clock()
        failures = self._failures.get(peer)
        if failures is None or now >= failures.since + _MINUTE:
            self._failures[peer] = _Failures(now, 1)
            self._failures.move_to_end(peer)
        else:
            failures.count += 1
        if len(self._failures) > _MAX_PEERS:
            self._failures.popitem(last=False)


def _key(credentials: Credentials) -> _Key:
    header, certificate = credentials.authorization, credentials.certificate
    return (
        None if header is None else sha256(header).digest(),
        credentials.peer,
        credentials.resource,
        None if certificate is None else sha256(certificate).digest(),
    )
