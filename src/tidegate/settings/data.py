"""How a server's data is declared: named volumes, and companion containers that keep it.

The docstrings are the reference of the keys. What they become is in `specs`, what goes together in `checks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, cast

from pydantic import AfterValidator, Field, StrictBool

from tidegate.domain.server import Companion, Limits, Volume
from tidegate.settings.base import Emptiable, Model
from tidegate.settings.container import ContainerLimits, Environment, ImageName, Port, Target, User
from tidegate.settings.values import Size, Text

MOST = 8
"""Volumes of one container, and companions of one server."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?")


def _names(value: dict[str, object]) -> dict[str, object]:
    if len(value) > MOST:
        raise ValueError(f"holds more than {MOST}")
    for name in value:
        if not _NAME.fullmatch(name):
            raise ValueError("holds a name that is not at most 24 of a-z, 0-9 and -, no - at an end")
    if "localhost" in value:
        raise ValueError("holds the name localhost, which each container has for itself")
    return value


class VolumeModel(Model):
    """A named volume. It stays when the server is restarted, changed or removed, until `tidegate volume rm`."""

    target: Target
    """Where it is seen."""
    size: Size | None = None
    """Most that it may hold."""
    each: StrictBool = False
    """Whether each principal has one of its own (`sharing: principal`)."""


Volumes = Annotated[dict[str, VolumeModel], Emptiable, AfterValidator(_names)]


class CompanionModel(Model):
    """A container that a server needs beside it, such as a database. The server reaches it by its name."""

    image: ImageName
    """The image, by tag or, better, by digest."""
    entrypoint: tuple[Text, ...] | None = None
    """In place of the image's own entrypoint."""
    args: tuple[Text, ...] = ()
    """Arguments, in place of the image's own."""
    env: Environment = Field(default_factory=dict)
    """Environment variables. `${env:NAME}` and `${file:path}` stand for secrets."""
    volumes: Volumes = Field(default_factory=dict)
    """Volumes of its own, by name. Only one container has each at a time."""
    limits: ContainerLimits = ContainerLimits()
    """What it may use."""
    user: User | None = None
    """`uid:gid` it runs as; the image's own where that is in digits and not root, else a user without rights."""
    probe: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Command in the container that ends with status 0 once it can be used."""
    port: Port | None = None
    """In place of `probe`: the TCP port on which it listens once it can be used."""


Companions = Annotated[dict[str, CompanionModel], Emptiable, AfterValidator(_names)]


def volumes(models: Mapping[str, VolumeModel]) -> tuple[Volume, ...]:
    """Give the declared volumes."""
    return tuple(Volume(name, one.target, one.size, one.each) for name, one in models.items())


def companions(models: Mapping[str, CompanionModel]) -> tuple[Companion, ...]:
    """Give the declared companions, in the order in which they are started."""
    return tuple(
        Companion(
            name=name,
            image=one.image,
            args=one.args,
            entrypoint=one.entrypoint,
            env=dict(one.env),
            volumes=volumes(one.volumes),
            limits=limits(one.limits),
            user=one.user,
            probe=one.probe,
            port=one.port,
        )
        for name, one in models.items()
    )


def limits(given: ContainerLimits) -> Limits:
    """Give the limits; the largest message is a server's alone."""
    return Limits(given.memory, given.cpus, given.pids, given.tmp, disk=given.disk, bandwidth=given.bandwidth)


def mistakes(server: Mapping[str, object]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Find what does not go together in a server's data: where, and what. `server` is plain data, unchecked."""
    sharing = server.get("sharing", "principal")
    own, beside = _mapping(server.get("volumes")), _mapping(server.get("companions"))
    mounts = server.get("mounts")
    mounted = (
        [_mapping(one).get("target") for one in cast("list[object]", mounts)] if _is_list(mounts) else []
    )
    yield from _twice(("volumes",), own, mounted)
    for name, volume in own.items():
        if _mapping(volume).get("each") is True and sharing != "principal":
            yield ("volumes", name, "each"), "goes with sharing: principal only"
    seen = set(own)
    for name, given in beside.items():
        companion, at = _mapping(given), ("companions", name)
        if "probe" in companion and "port" in companion:
            yield (*at, "port"), "goes without probe: one of them says when it can be used"
        kept = _mapping(companion.get("volumes"))
        yield from _twice((*at, "volumes"), kept, [])
        for volume in kept:
            if volume in seen:
                yield (*at, "volumes", volume), "is the name of another volume of this server already"
            seen.add(volume)
            yield from _apart((*at, "volumes", volume), _mapping(kept[volume]), sharing)


def _apart(
    at: tuple[str, ...], volume: Mapping[str, object], sharing: object
) -> Iterator[tuple[tuple[str, ...], str]]:
    """See that no two companions can open one volume."""
    each = volume.get("each") is True
    if sharing in ("session", "call"):
        yield (
            at,
            f"is a companion's and would be left behind by each {sharing}: say sharing: principal or shared",
        )
    elif sharing == "principal" and not each:
        yield at, "is a companion's, of which each principal has its own: say each: true, or sharing: shared"
    elif sharing == "shared" and each:
        yield (*at, "each"), "goes with sharing: principal only"


def _twice(
    at: tuple[str, ...], kept: Mapping[str, object], others: list[object]
) -> Iterator[tuple[tuple[str, ...], str]]:
    targets = list(others)
    for name, volume in kept.items():
        target = _mapping(volume).get("target")
        if isinstance(target, str) and target in targets:
            yield (*at, name, "target"), "is the target of another mount or volume already"
        targets.append(target)


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _is_list(value: object) -> bool:
    return isinstance(value, list)
