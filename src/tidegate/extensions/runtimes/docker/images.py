"""Images: what a server's container is made from: pulled as named, or built from a package.

Decides by the `pull` setting and tells progress. Building is in `build`, the bases in `bases`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.docker.credentials import registry_auth
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused, Json
from tidegate.extensions.runtimes.docker.settings import DockerSettings
from tidegate.ports.runtime import Progress

# Names stand in paths of the engine's API as they are.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")

_LABELS = "dev.tidegate."
_OF_IMAGES = frozenset(_LABELS + word for word in ("base", "lock", "package", "stage"))
"""Labels that images have which are built here; by the others, containers are found to be this or that."""

Say = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Resolved:
    """An image that the engine has."""

    name: str
    """As people know it."""
    id: str
    digest: str
    """What pins it: `name@sha256:…` of the registry, else the id."""
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    volumes: tuple[str, ...]
    """Paths that the image declares as volumes."""
    architecture: str
    user: str = ""
    """As whom it says it is run."""


def resolved(name: str, found: Json) -> Resolved:
    """Read the engine's description of an image.

    Raises:
        RuntimeFailure: its containers, which have its labels, could pass for something else of ours.
    """
    config = cast("Mapping[str, Any]", found.get("Config") or {})
    labels = cast("Mapping[str, str]", config.get("Labels") or {})
    posing = next((each for each in labels if each.startswith(_LABELS) and each not in _OF_IMAGES), None)
    if posing is not None:
        raise RuntimeFailure(
            f"image {name} has the label {posing[:100]!r}, which only containers of tidegate have"
        )
    digests = cast("list[str]", found.get("RepoDigests") or [])
    pairs = (str(pair).partition("=") for pair in cast("list[str]", config.get("Env") or []))
    return Resolved(
        name=name,
        id=str(found["Id"]),
        digest=digests[0] if digests else str(found["Id"]),
        environment={key: value for key, _, value in pairs},
        labels=labels,
        volumes=tuple(sorted(cast("Mapping[str, object]", config.get("Volumes") or {}))),
        architecture=str(found.get("Architecture", "")),
        user=str(config.get("User") or ""),
    )


class Pulls:
    """Brings images from registries, one pull of a name at a time."""

    def __init__(self, engine: Engine, settings: DockerSettings) -> None:
        self._engine = engine
        self._policy = settings.pull
        self._pulling: dict[str, asyncio.Lock] = {}

    async def have(self, name: str) -> Resolved | None:
        """Give the image if the engine has it.

        Raises:
            RuntimeFailure: the name is none, or the image passes for something else.
        """
        if _NAME.fullmatch(name) is None or ".." in name:
            raise RuntimeFailure(f"{name!r:.200} is no image's name")
        found = await self._engine.image(name)
        return None if found is None else resolved(name, found)

    async def bring(self, name: str, server: str, say: Say) -> Resolved:
        """Pull as the policy says, and give the image.

        Raises:
            RuntimeFailure: it cannot be had.
        """
        async with self._pulling.setdefault(name, asyncio.Lock()):
            there = await self.have(name)
            # A digest names one image for ever, so nothing newer can be pulled.
            if there is not None and (self._policy != "always" or "@sha256:" in name):
                return there
            if self._policy == "never":
                raise RuntimeFailure(
                    f"image {name} is not on the engine, and runtimes.docker.pull is `never`"
                )
            telling = Telling(server, f"pulling {name}", say)
            try:
                await self._engine.pull(name, registry_auth(name), telling.take)
            except EngineRefused as error:
                raise RuntimeFailure(f"image {name} cannot be pulled: {error}") from error
            there = await self.have(name)
        if there is None:
            raise RuntimeFailure(f"image {name} was pulled and is not there")
        return there


class Telling:
    """Adds the layers of a pull up to one figure."""

    def __init__(self, server: str, what: str, say: Say) -> None:
        self._server, self._what, self._say = server, what, say
        self._layers: dict[str, tuple[int, int]] = {}

    def take(self, line: Json) -> None:
        """Take one line of the engine's progress."""
        detail = cast("Mapping[str, Any]", line.get("progressDetail") or {})
        if line.get("status") == "Downloading" and detail.get("total"):
            self._layers[str(line.get("id"))] = (int(detail.get("current") or 0), int(detail["total"]))
        elif line.get("status") == "Download complete" and str(line.get("id")) in self._layers:
            total = self._layers[str(line["id"])][1]
            self._layers[str(line["id"])] = (total, total)
        else:
            return
        done = sum(layer[0] for layer in self._layers.values())
        total = sum(layer[1] for layer in self._layers.values())
        self._say(Progress(self._server, self._what, done, total))
