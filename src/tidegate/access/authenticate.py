"""From credentials to a principal, asking an identity as seldom as that is safe. Decides no right."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import NoReturn

from tidegate.access.attempts import Attempts, is_signed, plain
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

_Key = tuple[bytes | None, str, str, bytes | None]
"""Digest of the header, address, what is asked for, digest of the certificate: all that an identity may look at, but
for the proof, which is looked at for each request."""


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
        self._attempts = Attempts(clock)
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
            IdentityUnavailable: nobody can tell now whether they are valid, or looks since too many were not.
        """
        vouched = self.cached(credentials)
        if vouched is not None:
            return vouched
        header = credentials.authorization
        if header is not None and len(header) > MAX_HEADER:
            raise Unauthenticated("the Authorization header is too long")
        key = _key(credentials)
        if header is not None or credentials.certificate is not None:
            self._refuse_again(key, credentials)
        credentials.may_guess = None if key in self._known else partial(self._may_guess, credentials.peer)
        # Before asking: what changes meanwhile must not be taken for known.
        version = self._versions()
        for identity in self._identities:
            try:
                vouched = await identity.authenticate(credentials)
            except Unauthenticated as error:
                self._fail(key, credentials, error, version)
            if vouched is not None:
                if vouched.prove is not None and not credentials.proved:
                    self._prove(vouched.prove, credentials)
                self._keep(key, vouched, version)
                return vouched
        if header is None:  # a certificate that nobody here goes by is none either
            raise Unauthenticated("no credentials were sent", error="")
        none = Unauthenticated("the credentials are of no kind that is accepted here")
        self._fail(key, credentials, none, version)

    def _prove(self, prove: Callable[[Credentials], None], credentials: Credentials) -> None:
        """See that whoever sent a request has its credentials' key. That it has not is no fault of the credentials,
        which may be good in other hands: it is held against the address alone."""
        try:
            prove(credentials)
        except Unauthenticated as error:
            if error.nonce is None:  # else it is told what to send, and has done nothing wrong
                self._attempts.failed(credentials.peer, signed=True)
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

    def _refuse_again(self, key: _Key, credentials: Credentials) -> None:
        refused_as = _plain(key, credentials)
        refused = self._refused.get(refused_as)
        if refused is not None:
            reason, until, version = refused
            if self._clock() < until and version == self._versions():
                raise Unauthenticated(reason)
            del self._refused[refused_as]
        if key not in self._known:
            self._attempts.check(credentials.peer, signed=is_signed(credentials.authorization))

    def _may_guess(self, peer: str) -> None:
        """See that an address got not too many secrets wrong. That it did is not held against it once more."""
        try:
            self._attempts.check(peer, signed=False)
        except Unauthenticated as error:
            raise Unauthenticated(str(error), counts=False) from error

    def _fail(
        self,
        key: _Key,
        credentials: Credentials,
        refused: Unauthenticated,
        version: int | tuple[int, ...],
    ) -> NoReturn:
        self._known.pop(key, None)
        self._refused[_plain(key, credentials)] = str(refused), self._clock() + REFUSED_AGE, version
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)
        if refused.counts:
            signed = not refused.guess and is_signed(credentials.authorization)
            self._attempts.failed(credentials.peer, signed=signed)
        raise Unauthenticated(str(refused))


def _plain(key: _Key, credentials: Credentials) -> _Key:
    """Give what a refusal is kept by: who writes a token in another way is not asked about once more."""
    header = plain(credentials.authorization)
    return (None if header is None else sha256(header).digest(), *key[1:])


def _key(credentials: Credentials) -> _Key:
    header, certificate = credentials.authorization, credentials.certificate
    return (
        None if header is None else sha256(header).digest(),
        credentials.peer,
        credentials.resource,
        None if certificate is None else sha256(certificate).digest(),
    )
