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

Stamp = Mapping[str, str]
_Known = tuple[Stamp, Stamp, Sequence[Name]]
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
        self._known: _Known = {}, {}, ()
        """Digests of all policies as they were understood last, of those that decide, and the data that these read."""

    async def stamp(self) -> Stamp:
        """Give the value: digests, by the names of what they are of.

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
        digests, data = self._understood(modules)
        return {**digests, **{_shown(each): await self._document(each) for each in data}}

    async def _revision(self, path: str) -> Stamp:
        told = await self._api.ask(path, {}, provenance=True)
        if told.value() is UNDEFINED:
            raise Unseen(f"there is nothing at {path}, so no change would be seen")
        given = _plain(told.provenance)
        bundles = msgspec.json.encode([given.get("bundles"), given.get("revision")])
        return {path: _digest(bytes(told.result)), "bundles": _digest(bundles)}

    def _understood(self, modules: Sequence[Module]) -> tuple[Stamp, Sequence[Name]]:
        every = {each.id: _digest(each.raw.encode()) for each in modules}
        if self._known[0] != every:
            found = reached(modules, self._settings)
            if found.arguments and not _asks_for_arguments(modules, found):
                raise Unseen(
                    "its policies read `input.arguments` and have no `reads`, so these are never told"
                )
            if found.computed:
                raise Unseen(f"its policies read `data` by names that they compute: {_HINT}")
            if len(found.data) > MOST_DATA:
                raise Unseen(f"its policies read more than {MOST_DATA} documents of data: {_HINT}")
            deciding = {modules[number].id: every[modules[number].id] for number in found.modules}
            self._known = every, deciding, sorted(found.data)
        return self._known[1:]

    async def _document(self, name: Name) -> str:
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


def _shown(name: Name) -> str:
    return ".".join(("data", *name))[:200]


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
