"""Interests: who wants to hear of which resources and tasks of which workload. A table; nothing is sent here."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Protocol

from tidegate.domain.principal import Principal
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.handles import Handle
from tidegate.protocol.codec import Object

Place = tuple[str, str]
"""A workload: its server, and its key in the pool."""

_Topic = tuple[Place, bool, str]
"""A workload's resource, or (True) its task."""


class Hearer(Hashable, Protocol):
    """Somebody at an endpoint who wants to hear of something."""

    @property
    def endpoint(self) -> Endpoint:
        """Where."""
        ...

    @property
    def principal(self) -> Principal:
        """Who."""
        ...

    def tell(self, method: str, params: Object) -> None:
        """Pass on what happened, in the endpoint's own names."""
        ...


class Interests:
    """Who wants to hear of what."""

    def __init__(self) -> None:
        self._uris: dict[Place, dict[str, dict[Hearer, str]]] = {}
        self._tasks: dict[Place, dict[str, dict[Hearer, tuple[Handle, str]]]] = {}
        self._of: dict[Hearer, set[_Topic]] = {}

    def add_uri(self, hearer: Hearer, place: Place, uri: str, shown: str) -> None:
        """Add a resource by the server's own URI; `shown` is the hearer's name for it."""
        self._uris.setdefault(place, {}).setdefault(uri, {})[hearer] = shown
        self._of.setdefault(hearer, set()).add((place, False, uri))

    def add_task(self, hearer: Hearer, handle: Handle, text: str) -> None:
        """Add a task; `text` is the hearer's name for it."""
        place = handle.server, handle.sharing
        self._tasks.setdefault(place, {}).setdefault(handle.task, {})[hearer] = handle, text
        self._of.setdefault(hearer, set()).add((place, True, handle.task))

    def drop_uri(self, hearer: Hearer, place: Place, uri: str) -> None:
        """Let go of one resource."""
        self._drop(hearer, (place, False, uri))

    def drop_task(self, hearer: Hearer, handle: Handle) -> None:
        """Let go of one task."""
        self._drop(hearer, ((handle.server, handle.sharing), True, handle.task))

    def drop(self, hearer: Hearer) -> frozenset[Place]:
        """Let go of all that somebody wanted; give where that was."""
        topics = list(self._of.get(hearer, ()))
        for topic in topics:
            self._drop(hearer, topic)
        return frozenset(place for place, _, _ in topics)

    def uris(self, place: Place) -> frozenset[str]:
        """Give the resources of a workload that anybody wants to hear of."""
        return frozenset(self._uris.get(place, ()))

    def tasks(self, place: Place) -> frozenset[str]:
        """Give the tasks of a workload that anybody wants to hear of."""
        return frozenset(self._tasks.get(place, ()))

    def places(self, hearer: Hearer) -> frozenset[Place]:
        """Give where somebody wants to hear of something."""
        return frozenset(place for place, _, _ in self._of.get(hearer, ()))

    def hearers(self, place: Place) -> Iterator[Hearer]:
        """Give everybody who wants to hear of something of a workload; some may come twice."""
        for table in (self._uris, self._tasks):
            for found in table.get(place, {}).values():
                yield from found

    def of_uri(self, place: Place, uri: str) -> list[tuple[Hearer, str | None]]:
        """Give who hears of a resource, with the name they know it by.

        None for those who want to hear of one above it: what is told of may be a part of what was subscribed to
        (`ResourceUpdatedNotificationParams.uri`).
        """
        wanted = self._uris.get(place)
        if wanted is None:
            return []
        found: dict[Hearer, str | None] = {}
        for above in _above(uri):
            for hearer in wanted.get(above, {}):
                found[hearer] = None
        found |= wanted.get(uri, {})
        return list(found.items())

    def of_task(self, place: Place, task: str) -> list[tuple[Hearer, Handle, str]]:
        """Give who hears of a task, with the handle they know it by."""
        wanted = self._tasks.get(place, {}).get(task, {})
        return [(hearer, handle, text) for hearer, (handle, text) in wanted.items()]

    def topics(self, hearer: Hearer) -> tuple[list[tuple[Place, str, str]], list[Handle]]:
        """Give what somebody wants to hear of: resources with both names, and tasks."""
        uris: list[tuple[Place, str, str]] = []
        handles: list[Handle] = []
        for place, is_task, name in self._of.get(hearer, ()):
            if is_task:
                handles.append(self._tasks[place][name][hearer][0])
            else:
                uris.append((place, name, self._uris[place][name][hearer]))
        return uris, handles

    def _drop(self, hearer: Hearer, topic: _Topic) -> None:
        topics = self._of.get(hearer)
        if topics is None or topic not in topics:
            return
        topics.remove(topic)
        if not topics:
            del self._of[hearer]
        place, is_task, name = topic
        table = self._tasks if is_task else self._uris
        del table[place][name][hearer]
        if not table[place][name]:
            del table[place][name]
        if not table[place]:
            del table[place]


def _above(uri: str) -> Iterator[str]:
    """Give what a URI may be a part of: `a/b` and `a/b/` for `a/b/c#d`, up to its scheme. At most 64 of them."""
    begin = uri.find("://") + 3 if "://" in uri else uri.find(":") + 1
    ends = [at for at in range(begin, len(uri)) if uri[at] in "/?#"][-32:]
    for at in ends:
        yield uri[:at]
        if at + 1 < len(uri):
            yield uri[: at + 1]
