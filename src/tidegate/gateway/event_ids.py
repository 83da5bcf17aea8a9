"""Ids of events that clients resume a stream by: opaque, short, and good in their own session only. Pure.

An id names the gateway that sent the event (its boot), the stream, and the event's number; that of a
POST's stream also the request it answers, so that a client can be told what became of it when the
gateway is gone. A tag under the gateway's key binds it to the session it was given to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

from msgspec import Struct

LONGEST = 200
"""Bytes of an id."""
_REQUEST = 96
"""Bytes of a request's encoded id that fit in; streams of longer ones cannot be resumed."""
_TAG = 9
"""Bytes of the tag. Guessing one of 2^72 that is good in a session gains its owner nothing."""
_ID = re.compile(
    r"([\w-]{12})\.([a-z0-9]{1,16})\.([0-9a-f]{1,12})\.(g|p[\w-]{0,128})\.([0-9]{1,12})", re.ASCII
)


class EventId(Struct, frozen=True):
    """What an id says."""

    boot: str
    stream: int
    request: bytes | None
    """The encoded id of the request, of a POST's stream."""
    number: int


class EventIds:
    """Writes and reads ids. Gateways whose clients may move between them have one key."""

    def __init__(self, key: bytes, boot: str) -> None:
        """`boot` is 1 to 16 of a-z and 0-9."""
        self.boot = boot
        self._key = hmac.digest(key, b"tidegate event ids", "sha256")

    def prefix(self, session: str, stream: int, request: bytes | None) -> bytes:
        """Give what all ids of a stream begin with; its events' numbers follow. Empty where it can have none."""
        if request is not None and len(request) > _REQUEST:
            return b""
        kind = b"g" if request is None else b"p" + base64.urlsafe_b64encode(request).rstrip(b"=")
        named = b"%b.%x.%b." % (self.boot.encode(), stream, kind)
        return b"%b.%b" % (self._tag(session, named), named)

    def read(self, text: str, session: str) -> EventId | None:
        """Read an id; None where it is none that was given to this session."""
        found = _ID.fullmatch(text) if len(text) <= LONGEST else None
        if found is None:
            return None
        tag, boot, stream, kind, number = found.groups()
        named = f"{boot}.{stream}.{kind}.".encode()
        if not hmac.compare_digest(tag.encode(), self._tag(session, named)):
            return None
        try:
            request = base64.urlsafe_b64decode(kind[1:] + "=" * (-len(kind[1:]) % 4)) if kind != "g" else None
        except binascii.Error:
            return None
        return EventId(boot, int(stream, 16), request, int(number))

    def _tag(self, session: str, named: bytes) -> bytes:
        digest = hmac.new(self._key, b"%b %b" % (session.encode(), named), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest[:_TAG])
