"""What must hold of results and parameters on their way through: renamed in the places that are known, else as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Raw

from tests.corpus.compare import Differs, reads, same, told
from tests.corpus.second import Pairs
from tidegate.domain.errors import InvalidParams, UpstreamProtocolError
from tidegate.protocol import caching, codec, renaming, rounds, subscriptions, tasks, templates, ui, uris

SERVER = "srv"
URI_KEYS = frozenset({"uri", "uriTemplate", "resourceUri", "ui/resourceUri"})
METHODS = ("tools/call", "tasks/get", "tasks/cancel", "resources/read")


def result(data: bytes) -> None:
    """Check what is read of a server's result, and what becomes of it."""
    raw = told(data)
    if raw is None:
        return
    try:
        before = reads(bytes(raw))
    except RecursionError:
        return
    if not isinstance(before, Pairs):
        return
    plain = renaming.Renaming(SERVER, prefixed=False)
    if plain.result(raw) is not raw:
        raise Differs("renamed where nothing is renamed")
    after = reads(bytes(renaming.Renaming(SERVER, prefixed=True).result(raw)))
    _expect(before, after, "uri", _shown)
    for method in METHODS:
        _expect(before, reads(bytes(tasks.in_result(method, raw, _handle))), "task id", _handled)
    _read_of(codec.decode_object(raw), raw)


def _read_of(fields: codec.Object, raw: Raw) -> None:
    holds = caching.seconds(fields)
    if not 0 <= holds <= caching.LONGEST:
        raise Differs(f"holds {holds} seconds")
    reads(caching.aged(fields, holds))
    tasks.declared(fields), tasks.created(fields), tasks.state(fields), caching.is_public(fields)
    ui.is_shown_by(fields), ui.is_for_apps_only(fields)
    reads(codec.encode(renaming.Renaming(SERVER, prefixed=True).fields(fields)))
    for wanted in (_wanted(fields), rounds.visits(raw)):
        if len(wanted) > rounds.MOST:
            raise Differs("more questions than are taken")
        asked = reads(bytes(rounds.ask(wanted, None))).last
        same(asked["resultType"], "input_required", "resultType of a result that asks")


def _wanted(fields: codec.Object) -> dict[str, rounds.Wanted]:
    try:
        return rounds.read(fields)
    except UpstreamProtocolError:
        return {}


def params(data: bytes) -> None:
    """Check what is read of a request's parameters, and what becomes of a notification's."""
    raw = told(data)
    if raw is None or bytes(raw)[:1] != b"{":
        return
    fields = codec.decode_object(raw)
    try:
        before = reads(bytes(raw))
    except RecursionError:
        return
    try:
        found = subscriptions.read(fields)
        if len(found.uris) + len(found.tasks or ()) > 2 * subscriptions.MOST:
            raise Differs("more subscriptions than are taken")
        reads(subscriptions.acknowledged(Raw(b"1"), found))
    except InvalidParams:
        pass
    try:
        rounds.responses(fields)
    except InvalidParams:
        pass
    tasks.augmented(fields), tasks.named(fields)
    written = reads(subscriptions.stamped(Raw(b'"s"'), "notifications/x", fields)).last["params"].last
    same(written["_meta"].last[subscriptions.ID], "s", "mark of a stream")
    same(
        {**_plain(before), "_meta": 0},
        {**_plain(Pairs(written.items())), "_meta": 0},
        "params of a notification",
    )
    for method in tasks.NOTICES:
        changed = codec.encode(tasks.in_params(method, fields, _handle))
        _expect(before, reads(changed), "task id", _handled)


def text(data: bytes) -> None:
    """Check names and URIs: shown, and read back. A template, zero, a URI."""
    one, _, other = data.decode("utf-8", "replace").partition("\0")
    for each in (one, other):
        shown = renaming.uri_out(SERVER, each)
        back = renaming.uri_in(shown, {SERVER})
        if shown != each and back != (SERVER, each):
            raise Differs(f"{each!r} is shown as {shown!r} and read back as {back!r}")
        if uris.is_plain(each) and (not each.isprintable() or "\\" in each or "/../" in each):
            raise Differs(f"{each!r} is taken for plain")
    template = templates.read(one)
    if template is not None and "{" not in other:
        template.matches(other)


def _shown(key: str, before: str, after: str) -> bool:
    return key in URI_KEYS and renaming.uri_in(after, {SERVER}) == (SERVER, before)


def _handle(task: str) -> str | None:
    return f"h-{task}"


def _handled(key: str, before: str, after: str) -> bool:
    return key == "taskId" and after == f"h-{before}"


def _expect(before: Any, after: Any, what: str, allowed: Callable[[str, str, str], bool]) -> None:
    """Expect two values to be the same but for strings that were allowed to change."""
    for key, one, other in _changes(before, after, ""):
        if not (isinstance(one, str) and isinstance(other, str) and allowed(key, one, other)):
            if key == tasks.RELATED and other is None:
                continue
            raise Differs(f"{what}: {key}: {one!r} became {other!r}")


def _plain(value: Any) -> Any:
    return {key: _plain(each) for key, each in value.last.items()} if isinstance(value, Pairs) else value


def _changes(before: Any, after: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """Give each place where two values differ, with the last key on the way to it."""
    if isinstance(before, Pairs) and isinstance(after, Pairs):
        one, other = before.last, after.last
        for name in one | other:
            yield from _changes(one.get(name), other.get(name), name)
    elif type(before) is list and type(after) is list and len(before) == len(after):
        for was, became in zip(before, after, strict=True):
            yield from _changes(was, became, key)
    elif before != after:
        yield key, before, after
