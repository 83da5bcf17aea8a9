"""Mounts: which paths of the host a workload may be given.

Looks at the file system to follow links, and changes nothing. What would hand over the host, the engine or
the gateway's own keys is refused whoever asks, as is a directory that contains such a place.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Mount, ServerSpec

_SYSTEM = (
    "/proc",
    "/sys",
    "/dev",
    "/etc",
    "/boot",
    "/run",
    "/var/run",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/spool/cron",
    "/root/.ssh",
)
_HOME = (
    ".ssh",
    ".gnupg",
    ".docker",
    ".aws",
    ".azure",
    ".kube",
    ".config/gcloud",
    ".netrc",
    ".npmrc",
    ".pypirc",
)
_TARGETS = ("/proc", "/sys", "/dev", "/etc")


def forbidden_places(state_dir: Path, engine_url: str, home: Path) -> tuple[str, ...]:
    """Give the paths that no workload gets: the system's, the user's keys, the engine's, the gateway's."""
    own = [str(state_dir), *(str(home / name) for name in _HOME)]
    if engine_url.startswith("unix://"):
        own.append(engine_url.removeprefix("unix://"))
    places = (*_SYSTEM, *own)
    return tuple(sorted({*places, *(os.path.realpath(place) for place in places)}))


def allowed_mounts(spec: ServerSpec, forbidden: tuple[str, ...]) -> tuple[Mount, ...]:
    """Give the spec's mounts with links in their sources followed.

    Raises:
        RuntimeFailure: one is not there, or may not be given.
    """
    return tuple(_allowed(spec.name, mount, forbidden) for mount in spec.mounts)


def _allowed(server: str, mount: Mount, forbidden: tuple[str, ...]) -> Mount:
    source = os.path.realpath(mount.source)
    if not os.path.isabs(mount.source) or not os.path.exists(source):
        raise RuntimeFailure(f"server {server}: mount source {mount.source} is not there")
    if not (os.path.isdir(source) or os.path.isfile(source)):  # a socket of an engine may stand anywhere
        raise RuntimeFailure(
            f"server {server}: {mount.source} may not be mounted: it is neither a directory nor a plain file"
        )
    for place in forbidden:
        if _within(source, place):
            raise RuntimeFailure(f"server {server}: {mount.source} may not be mounted: it is in {place}")
        # A place that does not exist is not given away by the directory above it.
        if _within(place, source) and os.path.lexists(place):
            raise RuntimeFailure(f"server {server}: {mount.source} may not be mounted: it contains {place}")
    return replace(mount, source=source, target=_target(server, mount.target))


def _target(server: str, target: str) -> str:
    path = PurePosixPath(target)
    if target.startswith("//") or not path.is_absolute() or ".." in path.parts or str(path) == "/":
        raise RuntimeFailure(f"server {server}: mount target {target!r} is not an absolute path below /")
    if any(_within(str(path), place) for place in _TARGETS):
        raise RuntimeFailure(f"server {server}: nothing may be mounted at {target}")
    return str(path)


def _within(path: str, place: str) -> bool:
    return path == place or place == "/" or path.startswith(place.rstrip("/") + "/")
