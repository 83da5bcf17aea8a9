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
    ALLOWED = "allowed"
    """What `egress` and `peers` name, and nothing else."""


class Secret:
    """A value that must not be shown. `reveal()` is the only way to it.

    `origins` says what it was made from (`env:TOKEN`, `vault:secret/app#key`): names, for records. Two
    secrets are equal where their values are, wherever they came from.
    """

    __slots__ = ("_value", "origins")

    def __init__(self, value: str, origins: tuple[str, ...] = ()) -> None:
        self._value = value
        self.origins = origins

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
    disk: int | None = None
    """What its volumes may hold together; its root is read-only, and /tmp in memory."""
    bandwidth: int | None = None
    """Bytes a second over its networks, in each direction."""


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
class Replicas:
    """How many workloads of a shared server there are: as many as are needed, within bounds."""

    min: int = 1
    """0 lets it go to none when nobody calls it."""
    max: int = 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """A known peak: while it lasts, at least so many replicas."""

    name: str
    days: frozenset[int]
    """Days of the week, 0 is Monday."""
    begin: int
    """Minutes after midnight."""
    end: int
    """Minutes after midnight; smaller than `begin` where it goes past midnight."""
    zone: str
    """Name of a time zone."""
    min: int


@dataclass(frozen=True, slots=True)
class Scaling:
    """When there are more workloads, and when fewer. Times in seconds."""

    in_flight: int = 8
    """Calls under way at one replica that are meant to be."""
    wait: float = 0.25
    """That a call may wait for a place; when they wait longer, there are to be more."""
    latency: float | None = None
    """Of calls (p95), above which there are to be more replicas."""
    up_after: float = 3.0
    """That it has to be so before there are more."""
    down_after: float = 120.0
    """That fewer have to be enough before there are fewer."""
    pause_after: float | None = None
    """An idle workload is paused after so long, where the runtime can: it keeps its memory and uses no processor."""
    schedules: tuple[Schedule, ...] = ()
    signals: Mapping[str, int] = field(default_factory=dict[str, int])
    """Least replicas while an outside signal of that name is on (`storm`: 4)."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Calls that wait for a place on a server."""

    length: int = 256
    """One more is refused."""
    wait: float = 30.0
    """Seconds that one waits at most, where there are workloads that are only busy."""
    in_flight: int | None = None
    """Most calls under way at one workload; None: as many as come."""


@dataclass(frozen=True, slots=True)
class Health:
    """When a workload counts as sick. Times in seconds."""

    every: float = 30.0
    """Between two cheap requests (`ping`, `server/discover`) to a workload that is not called; 0: none."""
    timeout: float = 5.0
    """For the answer to one."""
    failures: int = 3
    """Failed calls or probes in a row after which it gets no calls for a while, and is replaced where it answers no probe."""
    eject: float = 10.0
    """For which it gets none; doubled each time up to five minutes."""
    restarts: int = 8
    """Restarts within `window` after which the server is quarantined: not started again until somebody says so."""
    window: float = 600.0


class Strategy(StrEnum):
    """How a change of a server is brought in."""

    ROLLING = "rolling"
    """One workload after the other."""
    BLUE_GREEN = "blue-green"
    """All new ones first, then all calls at once."""
    CANARY = "canary"
    """A share of the calls first, judged, then the rest."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a change of a server is brought in, and when it is taken back. Times in seconds."""

    strategy: Strategy = Strategy.ROLLING
    share: float = 0.1
    """Of the calls that go to a canary, above 0 and up to 0.5."""
    watch: float = 30.0
    """For which the new is watched before the old goes."""
    calls: int = 20
    """Least calls that a canary is judged by; it waits for them up to ten times `watch`."""
    errors: float = 0.05
    """Share of failed calls, above that of the old, with more than which it is taken back."""
    latency: float = 2.0
    """Factor of the old's p95 at which it is taken back."""
    drain: float = 60.0
    """For calls under way on the old to end; what remembers is drained as each of its keys falls idle, up to this."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume that belongs to a server and outlives its workloads."""

    name: str
    target: str
    """Where the server sees it."""
    size: int | None = None
    """Most bytes; None where the runtime's disk is the bound."""
    each: bool = False
    """Whether each sharing key has one of its own."""


@dataclass(frozen=True, slots=True)
class Companion:
    """A container that a server needs beside it: a database, a model server. Reached by its name."""

    name: str
    image: str
    args: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: Mapping[str, str | Secret] = field(default_factory=dict[str, "str | Secret"])
    volumes: tuple[Volume, ...] = ()
    limits: Limits = Limits()
    user: str | None = None
    probe: tuple[str, ...] | None = None
    """Command in the container that ends with 0 once it can be used; None: as soon as it runs."""
    port: int | None = None
    """Or the port that takes connections then."""


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
    egress: tuple[str, ...] = ()
    """With `Network.ALLOWED`: `host:port`, `*.domain:port`, `address:port` or `network/bits:port` it may reach."""
    peers: tuple[str, ...] = ()
    """Other servers whose HTTP port it may reach, each of which names it too."""
    volumes: tuple[Volume, ...] = ()
    companions: tuple[Companion, ...] = ()
    secrets: Mapping[str, Secret] = field(default_factory=dict[str, Secret])
    """Files below /run/secrets by name, in memory and readable by the server alone."""
    replicas: Replicas = Replicas()
    scaling: Scaling = Scaling()
    queue: Queue = Queue()
    health: Health = Health()
    rollout: Rollout = Rollout()

    @property
    def transport(self) -> Transport:
        """How the server speaks."""
        return self.launch.transport if isinstance(self.launch, Image | Remote) else Transport.STDIO

    @property
    def remembers(self) -> bool:
        """Whether losing a workload may lose something a client relied on. Nobody relies on one of several."""
        return not self.stateless and self.sharing is not Sharing.CALL and self.replicas.max <= 1

    @property
    def keyed(self) -> bool:
        """Whether a workload holds data of its sharing key, so that one made for nobody cannot be handed on."""
        kept = (*self.volumes, *(volume for one in self.companions for volume in one.volumes))
        return any(volume.each for volume in kept)

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

    @property
    def secret_origins(self) -> tuple[str, ...]:
        """Which secrets its workloads are given, by name."""
        given: list[Mapping[str, Secret] | Mapping[str, str | Secret]] = [self.env, self.secrets]
        if isinstance(self.launch, Remote):
            given.append(self.launch.headers)
        given += [companion.env for companion in self.companions]
        found: list[str | Secret] = [value for mapping in given for value in mapping.values()]
        return tuple(sorted({each for one in found if isinstance(one, Secret) for each in one.origins}))

    def digest(self) -> str:
        """Give 16 hex digits that change when anything that a workload is made of changes.

        What is the gateway's and not the workload's is left out: timeouts, replicas, scaling. Secrets count
        only by their hash.
        """
        text = json.dumps(_plain(self, skip=_GATEWAYS), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_GATEWAYS = frozenset({"timeouts", "replicas", "scaling", "queue", "health", "rollout"})
_LATER = frozenset({"egress", "peers", "volumes", "companions", "secrets", "disk", "bandwidth"})
"""Fields that count only where they are given: workloads from before there were such go on."""


def _plain(value: object, skip: frozenset[str] = frozenset()) -> object:
    if isinstance(value, Secret):
        return "sha256:" + hashlib.sha256(value.reveal().encode()).hexdigest()
    if is_dataclass(value) and not isinstance(value, type):
        given = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in skip}
        named = {name: _plain(each) for name, each in given.items() if each or name not in _LATER}
        return {"": type(value).__name__, **named}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in cast("Mapping[str, object]", value).items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    return value
