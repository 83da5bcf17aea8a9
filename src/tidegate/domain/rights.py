"""Rights: what one version of a server may have or do that another may not, in words.

Only compares two declarations. What follows from the difference is for whoever asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from tidegate.domain.server import (
    Command,
    Companion,
    Limits,
    Mount,
    Network,
    Remote,
    Secret,
    ServerSpec,
    Sharing,
    Volume,
)

_TOLD = 8
"""Rights that are named where they are told in one line."""
_CONTAINED = frozenset({"docker", "remote"})
"""Runtimes whose workloads reach no more of this machine than those of any other."""
_MEETING = (Sharing.CALL, Sharing.SESSION, Sharing.PRINCIPAL, Sharing.SHARED)
"""Whose calls may meet in one workload: ever more of them."""


def taken_away(old: ServerSpec, new: ServerSpec) -> tuple[str, ...]:
    """Say which rights `old` has that `new` has not; nothing where it has all of them.

    Rights are networks, destinations, peers, mounts, volumes, secrets, isolation, limits, and those of companions.
    A secret that comes from where it came from before is the same right, whatever it holds now. A variable that
    is no secret, an image and its arguments are none.
    """
    return (
        *_isolation(old, new),
        *_network(old, new),
        *_mounts(old.mounts, new.mounts),
        *_volumes(old.volumes, new.volumes),
        *_secrets(_given(old), _given(new)),
        *_limits(old.limits, new.limits),
        *_companions(old.companions, new.companions),
    )


def in_words(rights: Sequence[str]) -> str:
    """Give rights in one line, of many the first few."""
    told = ", ".join(rights[:_TOLD])
    return told if len(rights) <= _TOLD else f"{told} and {len(rights) - _TOLD} more"


def _isolation(old: ServerSpec, new: ServerSpec) -> Iterator[str]:
    if _unsandboxed(old) and not _unsandboxed(new):
        yield "running without a sandbox"
    elif old.runtime != new.runtime and old.runtime not in _CONTAINED:
        yield f"running by {old.runtime}"
    if _MEETING.index(new.sharing) < _MEETING.index(old.sharing):
        yield f"sharing: {old.sharing}"
    yield from _user(old.user, new.user)


def _unsandboxed(spec: ServerSpec) -> bool:
    return isinstance(spec.launch, Command) and spec.launch.unsandboxed


def _user(old: str | None, new: str | None) -> Iterator[str]:
    """Compare users; `None` is one without rights, and who is root has those of all."""
    is_root = new is not None and new.partition(":")[0] in ("0", "root")
    if old is not None and old != new and not is_root:
        yield f"the user {old}"


def _network(old: ServerSpec, new: ServerSpec) -> Iterator[str]:
    if old.network is Network.OPEN and new.network is not Network.OPEN:
        yield "the open network"
    if old.network is not Network.ALLOWED:
        return
    if new.network is not Network.OPEN:
        reached = new.egress if new.network is Network.ALLOWED else ()
        for entry in old.egress:
            if not any(_reaches(each, entry) for each in reached):
                yield f"the way to {entry}"
    peers = {_name(peer) for peer in new.peers} if new.network is Network.ALLOWED else set[str]()
    yield from (f"the way to server {_name(peer)}" for peer in old.peers if _name(peer) not in peers)


def _name(peer: str) -> str:
    """Give a peer without its port, which is that one's to say."""
    return peer.partition(":")[0]


def _reaches(wide: str, entry: str) -> bool:
    """Tell whether an entry leads wherever another does. A network does not stand for each of its addresses."""
    if wide == entry:
        return True
    return wide.startswith("*.") and entry.endswith(wide[1:])


def _mounts(old: Sequence[Mount], new: Sequence[Mount]) -> Iterator[str]:
    for mount in old:
        same = [each for each in new if _holds(each.source, mount.source)]
        if not same:
            yield f"the mount {mount.target}"
        elif mount.writable and not any(each.writable for each in same):
            yield f"writing to the mount {mount.target}"


def _holds(directory: str, path: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _volumes(old: Sequence[Volume], new: Sequence[Volume]) -> Iterator[str]:
    there = {(volume.name, volume.each): volume for volume in new}
    for volume in old:
        same = there.get((volume.name, volume.each))
        if same is None:
            yield f"the volume {volume.name}"
        elif _is_less(same.size, volume.size):
            yield f"a larger volume {volume.name}"


def _given(spec: ServerSpec) -> Sequence[tuple[str, Secret]]:
    headers = _named(spec.launch.headers) if isinstance(spec.launch, Remote) else ()
    return [*_named(spec.env), *_named(spec.secrets), *headers]


def _named(values: Mapping[str, str | Secret] | Mapping[str, Secret]) -> Iterator[tuple[str, Secret]]:
    return ((name, value) for name, value in values.items() if isinstance(value, Secret))


def _secrets(old: Sequence[tuple[str, Secret]], new: Sequence[tuple[str, Secret]]) -> Iterator[str]:
    values = {secret for _, secret in new}
    origins = {origin for _, secret in new for origin in secret.origins}
    for name, secret in old:
        renewed = secret.origins and origins.issuperset(secret.origins)
        if secret not in values and not renewed:
            yield f"the secret {name}"


def _limits(old: Limits, new: Limits) -> Iterator[str]:
    for each in fields(Limits):
        if _is_less(getattr(new, each.name), getattr(old, each.name)):
            yield f"a higher limits.{each.name}"


def _is_less(new: float | None, old: float | None) -> bool:
    """Compare bounds; `None` is none."""
    return new is not None and (old is None or new < old)


def _companions(old: Sequence[Companion], new: Sequence[Companion]) -> Iterator[str]:
    there = {companion.name: companion for companion in new}
    for companion in old:
        same = there.get(companion.name)
        if same is None:
            yield f"the companion {companion.name}"
            continue
        for right in (
            *_user(companion.user, same.user),
            *_volumes(companion.volumes, same.volumes),
            *_secrets(list(_named(companion.env)), list(_named(same.env))),
            *_limits(companion.limits, same.limits),
        ):
            yield f"{right} of the companion {companion.name}"
