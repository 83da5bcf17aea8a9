"""How a server is declared: one model for each way to launch it.

The docstrings are the reference of the keys. Turning a model into a ServerSpec is in `specs`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, Discriminator, Field, StrictBool, Tag

from tidegate.domain.server import Limits, Secret, Sharing, Timeouts
from tidegate.settings.base import Model
from tidegate.settings.container import ContainerLimits, Environment, ImageName, Port, Target, User, matching
from tidegate.settings.data import Companions, Volumes
from tidegate.settings.fleet import HealthModel, QueueModel, ReplicasModel, ScalingModel
from tidegate.settings.network import NetworkChoice
from tidegate.settings.rollouts import RolloutModel
from tidegate.settings.secrets import SecretFiles
from tidegate.settings.shape import keys_of
from tidegate.settings.values import FilePath, Seconds, SecondsOrNever, SecretText, ServerUrl, Size, Text

SERVER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
LAUNCH_KEYS = ("image", "command", "package", "url")

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# Set by the gateway on each request: a second value would make two readers see two messages.
_OWN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
    }
    | {"host", "keep-alive", "last-event-id", "origin", "te", "trailer", "transfer-encoding", "upgrade"}
)
_PYPI = re.compile(r"pypi:([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)==([0-9][A-Za-z0-9.!+_-]{0,98})")
_NPM = re.compile(
    r"npm:((?:@[a-z0-9][a-z0-9._-]{0,98}/)?[a-z0-9][a-z0-9._-]{0,98})@([0-9]+\.[0-9]+\.[0-9]+[A-Za-z0-9.+-]{0,64})"
)
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,98}(\[[A-Za-z0-9,._-]{1,98}\])?( ?(==|>=|<=|<|>|~=|!=) ?[A-Za-z0-9.*+!_-]{1,50},?){0,8}"
)
_EXECUTABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,98}")
_TIMEOUTS = Timeouts()


def split_package(value: str) -> tuple[str, str, str]:
    """Split a pinned package into index, name and version.

    Raises:
        ValueError: it is none, or not pinned.
    """
    for index, pattern in (("pypi", _PYPI), ("npm", _NPM)):
        match = pattern.fullmatch(value)
        if match:
            return index, match[1], match[2]
    raise ValueError("should be pinned: pypi:NAME==VERSION or npm:NAME@VERSION")


def _package(value: str) -> str:
    split_package(value)
    return value


def _headers(value: dict[str, str | Secret]) -> dict[str, str | Secret]:
    for name, content in value.items():
        lower = name.lower()
        if not _HEADER.fullmatch(name):
            raise ValueError("holds a name that is none for an HTTP header")
        if lower in _OWN_HEADERS or lower.startswith("mcp-"):
            raise ValueError(f"holds {name}, which the gateway sets itself")
        text = content.reveal() if isinstance(content, Secret) else content
        if re.search(r"[\r\n\0]", text) or not text.isprintable() or not text.isascii():
            raise ValueError(f"holds a line break or a character outside ASCII in the value of {name}")
    if len({name.lower() for name in value}) < len(value):
        raise ValueError("holds a header twice, in different case")
    return value


class MountModel(Model):
    """A file or directory of this machine that a server is given."""

    source: FilePath
    """Where it is on this machine; relative to the settings file. Looked at when the server starts."""
    target: Target
    """Where the server sees it."""
    writable: StrictBool = False
    """Whether the server may change it."""


class LimitsModel(ContainerLimits):
    """What one workload of a server may use."""

    message: Annotated[Size, Field(ge=1024, le=256 * 1024 * 1024)] = Limits().message
    """Largest single message taken from the server."""


class TimeoutsModel(Model):
    """How long a server may take."""

    start: Seconds = _TIMEOUTS.start
    """From the start of a workload to its answer to the handshake."""
    call: Seconds = _TIMEOUTS.call
    """For one call, progress or not."""
    idle: SecondsOrNever = _TIMEOUTS.idle
    """A workload that nobody called for so long is stopped; 0 keeps it."""
    input: Annotated[Seconds, Field(le=900)] = _TIMEOUTS.input
    """That a client's user has to answer a question of the server; the call's own time stands still meanwhile."""


class _Server(Model):
    """Keys of every server."""

    timeouts: TimeoutsModel = TimeoutsModel()
    """How long it may take."""
    sharing: Sharing = Sharing.PRINCIPAL
    """Whose calls may meet in one workload: those of one `principal`, everybody's (`shared`), those of one client `session`, or none (`call`: a fresh workload for each)."""
    stateless: StrictBool = False
    """Says that the server remembers nothing between calls, so that replacing a workload loses nothing."""
    queue: QueueModel = QueueModel()
    """Calls that wait for a place on it."""
    health: HealthModel = HealthModel()
    """When a workload of it counts as sick."""
    rollout: RolloutModel = RolloutModel()
    """How a change of it is brought in."""


class _LocalServer(_Server):
    """Keys of every server that runs on this machine."""

    replicas: ReplicasModel = ReplicasModel()
    """How many workloads it has."""
    scaling: ScalingModel = ScalingModel()
    """When there are more, and when fewer."""
    env: Environment = Field(default_factory=dict)
    """Environment variables. `${env:NAME}`, `${file:path}` and other references stand for secrets."""
    secrets: SecretFiles = Field(default_factory=dict)
    """Files below `/run/secrets` by their names, in memory and readable by the server alone; `API_KEY: ${vault:secret/app#key}`."""
    mounts: tuple[MountModel, ...] = ()
    """What it is given of this machine's files; read-only unless said."""
    limits: LimitsModel = LimitsModel()
    """What each workload may use."""
    network: NetworkChoice = "none"
    """`none`; a list of what it may reach, and nothing else; or `open` for a server that may reach everything."""
    user: User | None = None
    """`uid:gid` it runs as; a user without rights where absent."""


class _ContainerServer(_LocalServer):
    """Keys of servers that can be containers."""

    volumes: Volumes = Field(default_factory=dict)
    """Volumes of its own, by name (runtime `docker`)."""
    companions: Companions = Field(default_factory=dict)
    """Containers that it needs beside it, by name: started before it, one after the other (runtime `docker`)."""


class ImageServer(_ContainerServer):
    """A container image."""

    image: ImageName
    """The image, by tag or, better, by digest."""
    entrypoint: tuple[Text, ...] | None = None
    """In place of the image's own entrypoint."""
    args: tuple[Text, ...] = ()
    """Arguments, in place of the image's own."""
    transport: Literal["stdio", "http"] = "stdio"
    """How the server speaks."""
    port: Port = 8000
    """Where it listens inside its container (`transport: http`)."""
    path: Annotated[Text, matching(re.compile(r"/[!-~]*"), "should begin with /")] = "/mcp"
    """Path of its MCP endpoint (`transport: http`)."""


class CommandServer(_LocalServer):
    """A program on this machine, run as a sandboxed process."""

    command: Annotated[tuple[Text, ...], Field(min_length=1)]
    """The program and its arguments. A program with a slash in its name is relative to the settings file."""
    unsandboxed: StrictBool = False
    """Runs it even where no sandbox can be had, with the rights of the gateway's user."""


class PackageServer(_ContainerServer):
    """A pinned package from an index, realised as an image built here or in a sandboxed environment."""

    package: Annotated[Text, AfterValidator(_package)]
    """`pypi:NAME==VERSION` or `npm:NAME@VERSION`."""
    requirements: Annotated[
        tuple[Annotated[Text, matching(_REQUIREMENT, 'should be a requirement such as "mcp<2"')], ...],
        Field(alias="with"),
    ] = ()
    """Further requirements (pypi)."""
    executable: Annotated[Text, matching(_EXECUTABLE, "should be the name of a program")] | None = None
    """The program to run, where it is not named like the package."""
    args: tuple[Text, ...] = ()
    """Its arguments."""
    runtime: Text | None = None
    """What realises it; the general `runtime` where absent."""


class RemoteServer(_Server):
    """A server that runs elsewhere."""

    url: ServerUrl
    """Its MCP endpoint."""
    transport: Literal["http", "sse"] = "http"
    """`http` (Streamable HTTP), or `sse` for the older HTTP+SSE."""
    headers: Annotated[dict[str, SecretText], AfterValidator(_headers)] = Field(default_factory=dict)
    """Headers sent with every request. `${env:NAME}`, `${file:path}` and other references stand for secrets."""


LAUNCHES: dict[str, type[_Server]] = {
    "image": ImageServer,
    "command": CommandServer,
    "package": PackageServer,
    "url": RemoteServer,
}


def launch_tag(value: object) -> str:
    """Choose the model by the launch key that is there; without one, by what else is."""
    if not isinstance(value, dict):
        return f"<{LAUNCH_KEYS[0]}>"
    given = cast("dict[str, object]", value)
    there = [launch for launch in LAUNCH_KEYS if launch in given]
    return f"<{there[0] if there else max(LAUNCHES, key=lambda launch: len(given.keys() & keys_of(LAUNCHES[launch])))}>"


ServerModel = Annotated[
    Annotated[ImageServer, Tag("<image>")]
    | Annotated[CommandServer, Tag("<command>")]
    | Annotated[PackageServer, Tag("<package>")]
    | Annotated[RemoteServer, Tag("<url>")],
    Discriminator(launch_tag),
]
