"""Runs the matrix: one gateway before all feature servers, and every act in every direction over every carrier.

A cell is run on two endpoints: a plain one that has this server only, and a prefixed one that has all of
them at once. One session of the client serves a whole column; it is opened anew after a failure.

    python -m tests.matrix.run [ll-stdio …]        say what is wrong in these columns (all by default)
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.gateway.gateway import Gateway, Json, marked
from tests.matrix import upstreams
from tests.matrix.features import BY_ID, FEATURES, Feature, cell, columns
from tests.matrix.peer import LEGACY, MODERN, Peer, Shown, connect, http
from tests.matrix.upstreams import FORMS, Upstream

ALL = "/all"
ACT_SECONDS = 15.0
GIVE_UP = 4
"""Acts of a column that may take too long before the rest are not tried."""
SINGLE = frozenset({"extension"})
"""Features that need an endpoint of one server: their requests name none."""
ENDED_IN_VAIN = "not tried: too many before it took too long"

_LAST = [BY_ID["roots-changed"], BY_ID["cancellation"]]
"""What a server on a pipe asks or tells after these could still be on their account, for a while, and is put to no
other client; so they come after all else that clients of both eras do with it."""
_FIRST = [each for each in FEATURES if each not in _LAST]

Column = tuple[str, str]
"""Direction and carrier."""


def upstream_of(direction: str, carrier: str) -> str:
    """Give the name of the server of a column."""
    return f"{'new' if direction[1] == 'm' else 'old'}-{carrier}"


def settings(servers: Mapping[str, Upstream]) -> Json:
    """Give the settings of a gateway before these servers."""
    plain = {f"/{name}": {"servers": [name], "names": "plain"} for name in servers}
    return {
        "servers": {name: each.declared() for name, each in servers.items()},
        "endpoints": {ALL: {"servers": list(servers)}, **plain},
    }


@dataclass
class Run:
    """A gateway that stands, and what came of the columns so far."""

    gateway: Gateway
    servers: Mapping[str, Upstream]
    done: dict[Column, dict[str, str]] = field(default_factory=dict[Column, dict[str, str]])

    async def all(self) -> dict[Column, dict[str, str]]:
        """Give of each column and feature what is wrong: nothing, where it is right. All servers at once."""
        if not self.done:
            await self.columns(*columns())
        return self.done

    async def columns(self, *keys: Column) -> None:
        """Run these columns, and those of the other clients of the same servers."""
        servers = {(direction[1], carrier) for direction, carrier in keys}
        for acts in (_FIRST, _LAST):
            await asyncio.gather(*(self._server(*each, acts) for each in sorted(servers)))

    async def _server(self, era: str, carrier: str, acts: Sequence[Feature]) -> None:
        for client in "ml":
            key = (client + era, carrier)
            plain, merged = await self._acts(key, acts, True), await self._acts(key, acts, False)
            self.done.setdefault(key, {}).update({
                each.id: "; ".join(
                    f"{where}: {found[each.id]}"
                    for where, found in (("plain", plain), ("prefixed", merged))
                    if found.get(each.id)
                )
                for each in acts
            })  # fmt: skip

    @contextlib.asynccontextmanager
    async def peer(self, direction: str, carrier: str, plain: bool, **about: object) -> AsyncIterator[Peer]:
        """Connect a client of a direction."""
        name = upstream_of(direction, carrier)
        mode = MODERN if direction[0] == "m" else LEGACY
        url = self.gateway.url(f"/{name}" if plain else ALL)
        shown = Shown() if plain else Shown(name)
        known = {"upstream": FORMS[name][0], "carrier": carrier, **about}
        async with connect(http(url), mode, shown, **known) as peer:
            yield peer

    async def _acts(self, key: Column, acts: Sequence[Feature], plain: bool) -> dict[str, str]:
        left = [each for each in acts if plain or each.id not in SINGLE]
        found: dict[str, str] = {}
        while left and sum(each.startswith("TimeoutError") for each in found.values()) < GIVE_UP:
            last = ""
            try:
                async with self.peer(*key, plain) as peer:
                    while left and not found.get(last):
                        last = left.pop(0).id
                        found[last] = await _act(peer, BY_ID[last], key[0])
            except Exception as problem:  # the SDK ends so where a session ends in the midst of something
                if not last:
                    return found | dict.fromkeys([each.id for each in left], f"no connection: {problem!r}")
                found[last] = found[last] or f"at the end: {problem!r}"
        return found | dict.fromkeys([each.id for each in left], ENDED_IN_VAIN)


async def _act(peer: Peer, feature: Feature, direction: str) -> str:
    peer.forget()
    act, _ = cell(feature, direction)
    try:
        await asyncio.wait_for(act(peer), ACT_SECONDS)
    except Exception as problem:
        frames = [
            each for each in traceback.extract_tb(problem.__traceback__) if "/tests/matrix/" in each.filename
        ]
        lines = " < ".join(f"{Path(each.filename).name}:{each.lineno}" for each in reversed(frames[-2:]))
        return f"{type(problem).__name__}: {str(problem)[:400]} ({lines})"
    return ""


@contextlib.contextmanager
def before(servers: Mapping[str, Upstream], place: Path) -> Iterator[Run]:
    """Start a gateway before these servers, and see at the end that it was in order."""
    gateway = Gateway(place, marked(settings(servers), place)).start()
    try:
        gateway.until_servers(**dict.fromkeys(servers, "ready"))
        yield Run(gateway, servers)
    except BaseException:
        gateway.stop()
        raise
    gateway.check_end()


@contextlib.contextmanager
def standing(place: Path) -> Iterator[Run]:
    """Start servers and gateway."""
    with upstreams.running() as servers, before(servers, place) as run:
        yield run


def main() -> None:
    """Run the columns named (`ll-stdio`, …), or all, and say what is wrong in each."""
    chosen = [key for key in columns() if not sys.argv[1:] or "-".join(key) in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as place, standing(Path(place)) as run:
        asyncio.run(run.columns(*chosen))
        for key in chosen:
            found = run.done[key]
            wrong = {feature: problem for feature, problem in found.items() if problem}
            print(f"{'-'.join(key)}: {len(found) - len(wrong)} right, {len(wrong)} wrong", flush=True)
            for feature, problem in wrong.items():
                print(f"    {feature}: {problem}", flush=True)


if __name__ == "__main__":
    main()
