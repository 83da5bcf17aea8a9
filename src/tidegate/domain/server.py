"""ServerSpec: an MCP server as declared, and how it is to be run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import cast


class Transport(StrEnum):
    """How a server speaks: lines on stdin and stdout, Streamable HTTP, or HTTP+SSE (2024-11-05)."""

    STDIO = "stdio"
    HTTP = "http"
    SSE = "sse"


class Sharing(StrEnum):
    """Whose calls may meet in one workload. `PRINCIPAL` is the safe default."""

    PRINCIPAL = "principal"
    SHARED = "shared"
    SESSION = "session"
    CALL = "call"


class Network(StrEnum):
    """What network a server has. Only what is declared is given."""

    NONE = "none"
    OPEN = "open"


class Secret:
    """A value that must not be shown. `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the value itself, for the one place that hands it on."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))


@dataclass(frozen=True, slots=True)
class Image:
    """A container image."""

    image: str
    args: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    transport: Transport = Transport.STDIO
    port: int = 8000
    """Where an HTTP server listens inside its container."""
    path: str = "/mcp"


@dataclass(frozen=True, slots=True)
class Command:
    """A program on this machine, run as a sandboxed process."""

    argv: tuple[str, ...]
    unsandboxed: bool = False


@dataclass(frozen=True, slots=True)
class Package:
    """A package from an index, pinned, realised as an image or a sandboxed environment."""

    index: str
    """`pypi` or `npm`."""
    name: str
    version: str
    extras: tuple[str, ...] = ()
    """Further requirements, e.g. `mcp<2`."""
    executable: str | None = None
    """The program to run, where it is not named like the package."""
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Remote:
    """A server that runs elsewhere and is reached by URL."""

    url: str
    transport: Transport = Transport.HTTP
    headers: Mapping[str, Secret] = field(default_factory=dict[str, Secret])


Launch = Image | Command | Package | Remote


@dataclass(frozen=True, slots=True)
class Mount:
    """A host directory or file given to a server; read-only unless said."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What a workload may use. Sizes in bytes."""

    memory: int = 256 * 1024 * 1024
    cpus: float = 1.0
    pids: int = 128
    tmp: int = 64 * 1024 * 1024
    """Size of the writable tmpfs at /tmp."""
    message: int = 4 * 1024 * 1024
    """Largest single message taken from the server."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    start: float = 60.0
    """From the start of a workload to its answer to the handshake."""
    call: float = 60.0
    idle: float = 900.0
    """A workload that nobody called for so long is stopped; 0 keeps it."""
    input: float = 300.0
    """That a client's user has to answer a question of the server. The call's own time stands still meanwhile."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """An MCP server as declared."""

    name: str
    launch: Launch
    runtime: str
    """Name of the runtime that runs it: `docker`, `process` or `remote`."""
    env: Mapping[str, str | Secret] = field(default_factory=dict[str, "str | Secret"])
    mounts: tuple[Mount, ...] = ()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    network: Network = Network.NONE
    sharing: Sharing = Sharing.PRINCIPAL
    stateless: bool = False
    user: str | None = None
    """`uid:gid` inside the workload; the runtime's non-root default where None."""

    @property
    def transport(self) -> Transport:
        """How the server speaks."""
        return self.launch.transport if isinstance(self.launch, Image | Remote) else Transport.STDIO

    @property
    def remembers(self) -> bool:
        """Whether losing a workload may lose something a client relied on."""
        return not self.stateless and self.sharing is not Sharing.CALL

    def describe(self) -> str:
        """Say in one line how it is launched. No argument, header or variable is in it."""
        match self.launch:
            case Image(image=image):
                return f"image {image}"
            case Command(argv=argv):
                return f"command {argv[0] if argv else ''}"
            case Package(index=index, name=name, version=version):
                return f"package {index}:{name} {version}"
            case Remote(url=url):
                return f"url {url.partition('?')[0]}"

    def digest(self) -> str:
        """Give 16 hex digits that change when anything that a workload is made of changes.

        Timeouts are left out: they are the gateway's, not the workload's. Secrets count only by
        their hash.
        """
        text = json.dumps(_plain(self, skip=frozenset({"timeouts"})), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: object, skip: frozenset[str] = frozenset()) -> object:
    if isinstance(value, Secret):
        return "sha256:" + hashlib.sha256(value.reveal().encode()).hexdigest()
    if is_dataclass(value) and not isinstance(value, type):
        named = {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name not in skip}
        return {"": type(value).__name__, **named}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in cast("Mapping[str, object]", value).items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    return value
