"""Changes: a value that is another one whenever OPA may decide otherwise than before.

Either a document that its author says is so, with the revisions of OPA's bundles; or its policies, as far as the document
that decides is made of them, and the data that they read, all of it read whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from tidegate.extensions.policies.opa.api import UNDEFINED, Api, Module, Told, Trouble
from tidegate.extensions.policies.opa.reach import Name, Reached, name_of, reach

if TYPE_CHECKING:
    from tidegate.extensions.policies.opa import OpaSettings

MOST_DATA = 64
"""Documents that are read."""
_ASKING = ("reads", "shown")
"""Keys of a document by which arguments are asked for."""
_HINT = "name a `revision` in the settings"


class Unseen(Trouble):
    """It answers, and yet cannot be relied on: no change of it would be seen, or it decides by what it never gets."""


class Changes:
    """Sees changes of one OPA."""

    def __init__(self, api: Api, settings: OpaSettings) -> None:
        self._api = api
        self._settings = settings
        self._known: tuple[bytes, Sequence[Name]] = b"", ()
        """The policies that were understood last, and the data that they read."""

    async def stamp(self) -> object:
        """Give the value.

        Raises:
            Unseen: it can never be told.
            Trouble: it cannot be told now.
        """
        if self._settings.revision is not None:
            return await self._revision(self._settings.revision)
        try:
            modules = await self._api.modules()
        except Trouble as error:
            if error.unreadable:
                raise Unseen(
                    f"its policies cannot be read ({error}), so no change would be seen: {_HINT}"
                ) from None
            raise
        digest, data = self._understood(modules)
        return digest, tuple([await self._document(each) for each in data])

    async def _revision(self, path: str) -> object:
        told = await self._api.ask(path, {}, provenance=True)
        if told.value() is UNDEFINED:
            raise Unseen(f"there is nothing at {path}, so no change would be seen")
        given = _plain(told.provenance)
        return _digest(bytes(told.result)), msgspec.json.encode([given.get("bundles"), given.get("revision")])

    def _understood(self, modules: Sequence[Module]) -> tuple[bytes, Sequence[Name]]:
        every = sorted(modules, key=lambda each: each.id)
        digest = _digest(msgspec.json.encode([(each.id, each.raw) for each in every]))
        if self._known[0] != digest:
            found = reached(every, self._settings)
            if found.arguments and not _asks_for_arguments(every, found):
                raise Unseen(
                    "its policies read `input.arguments` and have no `reads`, so these are never told"
                )
            if found.computed:
                raise Unseen(f"its policies read `data` by names that they compute: {_HINT}")
            if len(found.data) > MOST_DATA:
                raise Unseen(f"its policies read more than {MOST_DATA} documents of data: {_HINT}")
            self._known = digest, sorted(found.data)
        return self._known

    async def _document(self, name: Name) -> bytes:
        try:
            text = await self._api.data(name)
            found = msgspec.json.decode(text, type=Told).result
        except Trouble as error:
            if error.unreadable:
                shown = ".".join(("data", *name))[:200]
                raise Unseen(
                    f"{shown} cannot be read ({error}), so no change would be seen: {_HINT}"
                ) from None
            raise
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise Trouble("its answer is not what OPA answers") from None
        return _digest(bytes(found))


def reached(modules: Sequence[Module], settings: OpaSettings) -> Reached:
    """Find what the documents that decide are made of.

    Raises:
        Trouble: the policies are none.
    """
    try:
        trees = [cast("object", msgspec.json.decode(each.ast)) for each in modules]
    except (msgspec.MsgspecError, RecursionError):
        raise Trouble("its policies are not what OPA answers") from None
    roots = [name_of(each) for each in (settings.path, settings.batch) if each is not None]
    return reach(trees, roots)


def _asks_for_arguments(modules: Sequence[Module], found: Reached) -> bool:
    """Tell whether arguments may ever be told. Where the document is a rule, its keys are its own to make."""
    if found.rules:
        return not found.rules.isdisjoint(_ASKING)
    return any(name in modules[number].raw for number in found.modules for name in _ASKING)


def _plain(text: msgspec.Raw) -> Mapping[str, object]:
    try:
        found = cast("object", msgspec.json.decode(text))
    except (msgspec.MsgspecError, RecursionError):
        raise Trouble("its answer is not what OPA answers") from None
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else {}


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
