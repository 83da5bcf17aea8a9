"""Cache: what modern servers' resources were, for as long as they said that it holds.

Nothing here decides who may read: a reading that is answered from here was authorised and recorded like any other.
MCP 2026-07-28, server/utilities/caching.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Raw

from tidegate.domain.errors import ParseFailure
from tidegate.domain.principal import Principal
from tidegate.domain.workload import SHARED
from tidegate.fleet.balance import base
from tidegate.protocol import caching
from tidegate.protocol.codec import Object, decode_object, decode_text

ENTRIES = 1000
SIZE = 32 * 1024 * 1024
"""Most results, and bytes of them, that are kept: servers decide how large they are."""
_LARGEST = SIZE // 8
"""Bytes of one result that is kept: one must not drive out all others."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is read, and whose workload reads it."""

    server: str
    sharing: str
    """Key of the workload in its pool."""
    uri: str
    """The server's own."""
    principal: Principal

    @property
    def shared(self) -> _Key:
        """Key of a public result.

        A workload that is one principal's own may say what it likes, and speaks for nobody else: what one
        principal made it say is no other's to read.
        """
        sharing = base(self.sharing)
        common = sharing.partition("+")[0] == SHARED
        return self.server, sharing if common else f"{sharing} {self.principal.key}", self.uri, ""

    @property
    def private(self) -> _Key:
        """Key of a private result."""
        return self.server, base(self.sharing), self.uri, self.principal.key


_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class _Kept:
    fields: Object
    until: float
    size: int


class ReadCache:
    """Results of `resources/read`, bounded in number and size; the longest unused go first."""

    def __init__(self, clock: Callable[[], float], *, entries: int = ENTRIES, size: int = SIZE) -> None:
        """`clock` gives seconds and never goes back."""
        self._clock = clock
        self._entries = entries
        self._limit = size
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._ages: dict[str, int] = {}
        self.size = 0
        """Bytes kept."""

    def __len__(self) -> int:
        return len(self._kept)

    def age(self, server: str) -> int:
        """Give a number that differs once something of a server was forgotten. Taken before a reading begins."""
        return self._ages.get(server, 0)

    def lookup(self, place: Place) -> bytes | None:
        """Give the kept result, as its server gave it but for `ttlMs`: what is left of it."""
        for key in (place.private, place.shared):
            found = self._kept.get(key)
            if found is None:
                continue
            left = found.until - self._clock()
            if left > 0:
                self._kept.move_to_end(key)
                return caching.aged(found.fields, left)
            self._drop(key)
        return None

    def keep(self, place: Place, result: Raw, age: int) -> None:
        """Keep a result, if its server says that it holds.

        Never call this with the result of a retry (one with `inputResponses` or `requestState`). `age` is that of
        the server when the reading began: what was read while something changed may be of before.
        """
        if age != self.age(place.server) or not 0 < len(result) <= min(_LARGEST, self._limit):
            return
        data = bytes(result)  # its own bytes: a Raw may hold on to the whole message that it came in
        try:
            fields = decode_object(data)
        except ParseFailure:
            return
        holds = caching.seconds(fields)
        if holds <= 0:
            return
        key = place.shared if caching.is_public(fields) else place.private
        self._drop(key)
        self._kept[key] = _Kept(fields, self._clock() + holds, len(data))
        self.size += len(data)
        while len(self._kept) > self._entries or self.size > self._limit:
            self._drop(next(iter(self._kept)))

    def notified(self, server: str, method: str, params: Object) -> None:
        """Forget what a server says has changed."""
        if method == "notifications/resources/list_changed":
            self.forget(server)
        elif method == "notifications/resources/updated":
            self.forget(server, decode_text(params.get("uri")))

    def forget(self, server: str, uri: str | None = None) -> None:
        """Forget a resource, with what is above and below it; or all of a server, which may be another one now."""
        self._ages[server] = self.age(server) + 1
        for key in [key for key in self._kept if key[0] == server]:
            if uri is None or key[2].startswith(uri) or uri.startswith(key[2]):
                self._drop(key)

    def _drop(self, key: _Key) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self.size -= found.size
