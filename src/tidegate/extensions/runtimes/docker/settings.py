"""Settings of the Docker runtime, and where its engine is looked for.

Nothing here talks to an engine.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

Need = Literal["seccomp", "memory", "pids", "cpus"]
"""What an engine may be unable to enforce."""


DebianPackage = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]{1,62}$")]
"""The name of one (Debian Policy 5.6.1), so that nothing else reaches debootstrap's command line."""


def _ipv4(value: str) -> str:
    return str(ipaddress.IPv4Address(value))


IPv4 = Annotated[str, StringConstraints(max_length=15), AfterValidator(_ipv4)]


class Bases(BaseModel):
    """Images that packages are installed on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    python: str = Field(default="python:3.12-slim", min_length=1, max_length=512)
    """For `pypi:` packages: has `python3` with `venv`, and says its version in `PYTHON_VERSION`."""
    node: str = Field(default="node:22-slim", min_length=1, max_length=512)
    """For `npm:` packages: has `node`."""
    sidecar: str | None = Field(default=None, min_length=1, max_length=512)
    """For the sidecars of servers' networks: has `python3` (3.11 or later). Where absent: the one for `pypi:` packages."""


class Deadlines(BaseModel):
    """Seconds until the engine counts as not answering."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    call: float = Field(default=10.0, gt=0, le=600)
    """One short call: create, attach, inspect, list, remove."""
    start: float = Field(default=30.0, gt=0, le=600)
    """Starting a container that was created."""
    silence: float = Field(default=120.0, gt=0, le=3600)
    """The longest time without a word of progress in a pull or a build."""
    prepare: float = Field(default=1800.0, gt=0, le=86400)
    """A whole pull, build or bootstrap."""


class DockerSettings(BaseModel):
    """`runtimes.docker` in the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    socket: str | None = Field(default=None, max_length=512)
    """`unix:///path`, `tcp://host:port` or `https://host:port`. Where absent: `DOCKER_HOST`, then the first
    of the usual sockets that is there."""
    base: Bases = Bases()
    """Images that packages are installed on."""
    bootstrap: bool = False
    """Whether a base that cannot be pulled is made here from Debian's packages (needs root and debootstrap)."""
    bootstrap_packages: tuple[DebianPackage, ...] = Field(default=(), max_length=64)
    """Debian packages that a base made here holds beyond Python, such as `git`."""
    pull: Literal["missing", "always", "never"] = "missing"
    """When an image is pulled: where the engine has none, each time a gateway prepares a server, or never."""
    deadlines: Deadlines = Deadlines()
    """Seconds until the engine counts as not answering."""
    private_http: Literal["sidecar", "bridge"] = "sidecar"
    """How an HTTP server without a network is reached: by a sidecar, on a port of this machine's loopback; or
    by its address on a bridge, over which **it reaches this machine too**, and which Docker Desktop does not show."""
    resolvers: tuple[IPv4, ...] = Field(default=(), max_length=3)
    """Addresses of the name servers that sidecars ask where the names in `network: {egress: …}` lead; the
    engine's own where absent."""
    accept_missing: frozenset[Need] = frozenset()
    """What the engine may lack. Without it, a workload whose limits would not hold is not started."""


def locate_engine(settings: DockerSettings, environ: Mapping[str, str] = os.environ) -> str:
    """Give the URL of the engine: as set, else `DOCKER_HOST`, else the first usual socket that is there."""
    if settings.socket:
        return settings.socket
    if environ.get("DOCKER_HOST"):
        return environ["DOCKER_HOST"]
    usual = [Path("/var/run/docker.sock"), Path.home() / ".docker/run/docker.sock"]
    if environ.get("XDG_RUNTIME_DIR"):
        usual.append(Path(environ["XDG_RUNTIME_DIR"]) / "docker.sock")
    found = next((path for path in usual if path.is_socket()), usual[0])
    return f"unix://{found}"
