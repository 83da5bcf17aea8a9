"""How a server is declared: one model for each way to launch it.

The docstrings are the reference of the keys. Turning a model into a ServerSpec is in `specs`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, Discriminator, Field, StrictBool, StrictInt, Tag

from tidegate.domain.server import Limits, Network, Secret, Sharing, Timeouts
from tidegate.settings.base import Model
from tidegate.settings.rollouts import RolloutModel
from tidegate.settings.shape import keys_of
from tidegate.settings.values import FilePath, Seconds, SecondsOrNever, SecretText, ServerUrl, Size, Text

SERVER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
LAUNCH_KEYS = ("image", "command", "package", "url")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
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
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,250}(@sha256:[0-9a-f]{64})?")
_PYPI = re.compile(r"pypi:([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)==([0-9][A-Za-z0-9.!+_-]{0,98})")
_NPM = re.compile(
    r"npm:((?:@[a-z0-9][a-z0-9._-]{0,98}/)?[a-z0-9][a-z0-9._-]{0,98})@([0-9]+\.[0-9]+\.[0-9]+[A-Za-z0-9.+-]{0,64})"
)
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,98}(\[[A-Za-z0-9,._-]{1,98}\])?( ?(==|>=|<=|<|>|~=|!=) ?[A-Za-z0-9.*+!_-]{1,50},?){0,8}"
)
_EXECUTABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,98}")
_USER = re.compile(r"[1-9][0-9]{0,8}(:[1-9][0-9]{0,8})?")
_LIMITS = Limits()
_TIMEOUTS = Timeouts()
_PROVIDED = ("/", "/tmp", "/proc", "/sys", "/dev")  # noqa: S108 - names a place, makes no file


def _matching(pattern: re.Pattern[str], message: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


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


def _target(value: str) -> str:
    parts = value.split("/")
    if parts[0] != "" or value in _PROVIDED or any(part in ("", ".", "..") for part in parts[1:]):
        raise ValueError(f"should be an absolute path inside the server, and none of {', '.join(_PROVIDED)}")
    if value.startswith(("/proc/", "/sys/", "/dev/")):
        raise ValueError("should not be under /proc, /sys or /dev")
    return value


def _environment(value: dict[str, str | Secret] | None) -> dict[str, str | Secret]:
    for name in value or {}:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(
                "holds a name that is none for a variable; letters, digits and _ are, no digit first"
            )
    return value or {}


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
    target: Annotated[Text, AfterValidator(_target)]
    """Where the server sees it."""
    writable: StrictBool = False
    """Whether the server may change it."""


class LimitsModel(Model):
    """What one workload of a server may use."""

    memory: Annotated[Size, Field(ge=4 * 1024 * 1024)] = _LIMITS.memory
    """Memory, swap included."""
    cpus: Annotated[float, Field(gt=0, le=1024, strict=True)] = _LIMITS.cpus
    """Processors; 0.5 is half of one."""
    pids: Annotated[StrictInt, Field(ge=1, le=100_000)] = _LIMITS.pids
    """Processes and threads."""
    tmp: Size = _LIMITS.tmp
    """Size of `/tmp`, which is in memory and empty at the start."""
    message: Annotated[Size, Field(ge=1024, le=256 * 1024 * 1024)] = _LIMITS.message
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
    rollout: RolloutModel = RolloutModel()
    """How a change of it is brought in."""


class _LocalServer(_Server):
    """Keys of every server that runs on this machine."""

    env: Annotated[dict[str, SecretText], AfterValidator(_environment)] = Field(default_factory=dict)
    """Environment variables. `${env:NAME}` and `${file:path}` stand for secrets."""
    mounts: tuple[MountModel, ...] = ()
    """What it is given of this machine's files; read-only unless said."""
    limits: LimitsModel = LimitsModel()
    """What each workload may use."""
    network: Network = Network.NONE
    """`none`, or `open` for a server that must reach others."""
    user: (
        Annotated[
            Text,
            _matching(_USER, 'should be "uid" or "uid:gid" in digits, and not 0: servers never run as root'),
        ]
        | None
    ) = None
    """`uid:gid` it runs as; a user without rights where absent."""


class ImageServer(_LocalServer):
    """A container image."""

    image: Annotated[Text, _matching(_IMAGE, "should be the name of a container image")]
    """The image, by tag or, better, by digest."""
    entrypoint: tuple[Text, ...] | None = None
    """In place of the image's own entrypoint."""
    args: tuple[Text, ...] = ()
    """Arguments, in place of the image's own."""
    transport: Literal["stdio", "http"] = "stdio"
    """How the server speaks."""
    port: Annotated[StrictInt, Field(ge=1, le=65535)] = 8000
    """Where it listens inside its container (`transport: http`)."""
    path: Annotated[Text, _matching(re.compile(r"/[!-~]*"), "should begin with /")] = "/mcp"
    """Path of its MCP endpoint (`transport: http`)."""


class CommandServer(_LocalServer):
    """A program on this machine, run as a sandboxed process."""

    command: Annotated[tuple[Text, ...], Field(min_length=1)]
    """The program and its arguments. A program with a slash in its name is relative to the settings file."""
    unsandboxed: StrictBool = False
    """Runs it even where no sandbox can be had, with the rights of the gateway's user."""


class PackageServer(_LocalServer):
    """A pinned package from an index, realised as an image built here or in a sandboxed environment."""

    package: Annotated[Text, AfterValidator(_package)]
    """`pypi:NAME==VERSION` or `npm:NAME@VERSION`."""
    requirements: Annotated[
        tuple[Annotated[Text, _matching(_REQUIREMENT, 'should be a requirement such as "mcp<2"')], ...],
        Field(alias="with"),
    ] = ()
    """Further requirements (pypi)."""
    executable: Annotated[Text, _matching(_EXECUTABLE, "should be the name of a program")] | None = None
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
    """Headers sent with every request. `${env:NAME}` and `${file:path}` stand for secrets."""


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
