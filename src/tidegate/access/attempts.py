"""Attempts: credentials that were not good, by the address they came from, and when no more of them are looked at.

A secret (an API key, an opaque token) can be guessed, so few are looked at in a minute. What is signed cannot; looking at
it costs a signature, so many are, and no more in a second than a processor hardly notices. The form of a token tells which it
is, but for one that its issuer is asked about: whatever that looks like, it is a secret to us, and each costs a question.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.domain.errors import IdentityUnavailable, Unauthenticated

GUESSES, GUESSES_IN = 30, 60.0
"""Secrets that one address may get wrong in so many seconds: at 160 bits of an API key nobody comes anywhere."""
SIGNED, SIGNED_IN = 50, 1.0
"""Signed credentials of one address that were not good in so many seconds. A hundred microseconds each: 0.5 % of a
processor. Behind one address may be a whole company."""
_ADDRESSES = 4096
_HEADS = (b"eyJ", b"eyA", b"ewo", b"ew0", b"ewk")
"""How the header of a signed token begins (RFC 7515): `{"`, or `{` and white space, in base64url."""


@dataclass(slots=True)
class _Counted:
    since: float
    count: int


class Attempts:
    """Counts those that failed. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counted: OrderedDict[tuple[str, bool], _Counted] = OrderedDict()

    def check(self, peer: str, *, signed: bool) -> None:
        """See that credentials of an address may still be looked at.

        Raises:
            Unauthenticated: it got too many secrets wrong.
            IdentityUnavailable: too much of what it signs was not good just now; nothing is said of these credentials,
                so that nobody throws away a good token for what others at that address do.
        """
        counted = self._counted.get((peer, signed))
        most, within = (SIGNED, SIGNED_IN) if signed else (GUESSES, GUESSES_IN)
        if counted is None or counted.count < most or self._clock() >= counted.since + within:
            return
        if signed:
            raise IdentityUnavailable("too many tokens of this address were not good; try again in a second")
        raise Unauthenticated("too many failed attempts from this address; try again in a minute")

    def failed(self, peer: str, *, signed: bool) -> None:
        """Count credentials that were not good."""
        now, key = self._clock(), (peer, signed)
        counted = self._counted.get(key)
        if counted is None or now >= counted.since + (SIGNED_IN if signed else GUESSES_IN):
            self._counted[key] = _Counted(now, 1)
            self._counted.move_to_end(key)
        else:
            counted.count += 1
        if len(self._counted) > _ADDRESSES:
            self._counted.popitem(last=False)


def is_signed(header: bytes | None) -> bool:
    """Tell whether an `Authorization` header has the form of a signed token; a certificate, where there is none, is."""
    if header is None:
        return True
    token = header.partition(b" ")[2].strip()
    return token.startswith(_HEADS) and token.count(b".") == 2


def plain(header: bytes | None) -> bytes | None:
    """Give a header as it is whatever blanks and capitals its sender chose: each of them is no other token."""
    if header is None:
        return None
    scheme, _, token = header.partition(b" ")
    return scheme.lower() + b" " + token.strip()
