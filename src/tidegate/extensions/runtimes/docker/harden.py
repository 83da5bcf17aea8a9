"""Harden: what a workload's container is made of, as the Engine API wants it.

A pure function from a ServerSpec to the body of "create a container". What the spec does not declare, the
container does not have. Whether a mount may be given at all is decided in `mounts`, before. Each line here
has its row in `docs/containers.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Limits, Mount, Network, Secret, ServerSpec, Transport
from tidegate.domain.workload import WorkloadIdentity

NOBODY = "65532:65532"
"""The `nonroot` user of the common minimal images; no file of an image belongs to it unless meant for it."""

SHARES = "container:"
"""How a network mode begins that is another container's."""

_NUMERIC = re.compile(r"([0-9]{1,10})(?::([0-9]{1,10}))?")
_LARGEST_ID = 2**31 - 1
_OPEN_FILES = 4096
"""Enough for a server with many connections; the engine's default of a million only slows `closefrom` loops."""

_NO_RESOLVER = "127.0.0.1"
"""Where nothing listens: the engine's own would carry any name out of an internal network (CVE-2024-29018)."""


@dataclass(frozen=True, slots=True)
class Made:
    """What is known when a container is created beside its spec."""

    image: str
    """Id or name the engine knows."""
    user: str = NOBODY
    """`uid:gid` where the spec names none."""
    argv: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    mounts: tuple[Mount, ...] = ()
    """With resolved sources, as `mounts` allowed them."""
    apparmor: bool = False
    """Whether the engine has AppArmor."""
    network: str | None = None
    """Name of the server's own network, for an HTTP server or one with an open network; or whose it shares."""
    companions: str | None = None
    """Name of the network on which its companions are."""
    volumes: tuple[str, ...] = ()
    """Paths that the image declares as volumes."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further labels."""
    data: tuple[Mapping[str, object], ...] = ()
    """Mounts of named volumes."""
    scratch: Mapping[str, int] = field(default_factory=dict[str, int])
    """Further writable places in memory, with their sizes."""
    hosts: tuple[str, ...] = ()
    """`name:address` of the companions."""


def container(spec: ServerSpec, identity: WorkloadIdentity, made: Made) -> dict[str, object]:
    """Give the body of "create a container".

    Raises:
        RuntimeFailure: the user is root or not numeric.
    """
    http = listens_on(spec) is not None
    body: dict[str, object] = {
        "Image": made.image,
        "User": user(spec, made.user),
        "Env": environment(spec),
        "Labels": {**labels(identity), **made.labels},
        "Cmd": list(made.argv) if made.argv else None,
        "OpenStdin": not http,
        "AttachStdin": not http,
        # The stream may be dropped and taken up again; the server's standard input outlives it.
        "StdinOnce": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host(spec, made),
    }
    if made.entrypoint is not None:
        body["Entrypoint"] = list(made.entrypoint)
    if http and spec.network is Network.OPEN:
        body["ExposedPorts"] = {f"{listens_on(spec)}/tcp": {}}
    return body


def host(spec: ServerSpec, made: Made) -> dict[str, object]:
    """Give the part that binds the container to its host: rights, limits, mounts, network."""
    limits = spec.limits
    config: dict[str, object] = {
        "CapDrop": ["ALL"],
        "CapAdd": [],
        "Privileged": False,
        # No seccomp entry: the engine's default profile holds.
        "SecurityOpt": security(made.apparmor),
        "ReadonlyRootfs": True,
        "Tmpfs": temporaries(limits, made),
        "Memory": limits.memory,
        "MemorySwap": limits.memory,
        "NanoCpus": int(limits.cpus * 1_000_000_000),
        "PidsLimit": limits.pids,
        "Ulimits": [
            {"Name": "nofile", "Soft": _OPEN_FILES, "Hard": _OPEN_FILES},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "NetworkMode": made.network or made.companions or "none",
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "CgroupnsMode": "private",
        "Devices": [],
        "PublishAllPorts": False,
        "Mounts": [*(bind(mount) for mount in made.mounts), *made.data],
        # Forwards signals and reaps what a server leaves behind.
        "Init": True,
        # The stream is the log; the engine's own would keep calls on the disk, unbounded.
        "LogConfig": {"Type": "none", "Config": {}},
        # The fleet restarts, with backoff and a record; the engine's restart would run it unattached.
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,
        "OomScoreAdj": 500,
    }
    if made.hosts:
        config["ExtraHosts"] = list(made.hosts)
        if spec.network is Network.NONE:
            config["Dns"] = [_NO_RESOLVER]
            config["DnsOptions"] = ["timeout:1", "attempts:1"]
    port = listens_on(spec)
    if port is not None and spec.network is Network.OPEN:
        config["PortBindings"] = {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    return config


def security(apparmor: bool) -> list[str]:
    """Give the security options; AppArmor only where the engine has it, since it refuses it elsewhere."""
    return ["no-new-privileges:true", *(["apparmor=docker-default"] if apparmor else [])]


def temporaries(limits: Limits, made: Made) -> dict[str, str]:
    """Give the writable places, in memory and counted towards its limit.

    A volume that the image declares becomes one too: as a real volume it would be unbounded and on the disk.
    """
    options = f"rw,noexec,nosuid,nodev,size={limits.tmp},mode=1777"
    given = {mount.target for mount in made.mounts} | {str(mount["Target"]) for mount in made.data}
    places = {path: options for path in ("/tmp", *made.volumes) if path not in given}  # noqa: S108  # in the container
    for path, size in made.scratch.items():
        places[path] = f"rw,noexec,nosuid,nodev,size={size},mode=1777"
    return places


def bind(mount: Mount) -> dict[str, object]:
    """Give one bind mount. A missing source is refused by the engine, never created."""
    return {
        "Type": "bind",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": not mount.writable,
        # What is mounted below the source is left out: "read-only" would not reach it.
        "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
    }


def labels(identity: WorkloadIdentity) -> dict[str, str]:
    """Give the workload's labels, and those by which Docker Desktop groups containers."""
    return {
        **identity.labels(),
        # Not `tidegate`: a compose file of that name that starts the gateway would take them for orphans.
        "com.docker.compose.project": "tidegate-workloads",
        "com.docker.compose.service": identity.key.server,
    }


def environment(spec: ServerSpec) -> list[str]:
    """Give the environment; `HOME` is the only writable place unless the spec says otherwise."""
    pairs = {"HOME": "/tmp", **spec.env}  # noqa: S108  # a path in the container
    return [f"{k}={v.reveal() if isinstance(v, Secret) else v}" for k, v in pairs.items()]


def user(spec: ServerSpec, default: str) -> str:
    """Give `uid:gid`, both numeric and not 0: a name is the image's to define, and may be root's.

    Raises:
        RuntimeFailure: it is root, or not numeric.
    """
    said = spec.user or default
    match = _NUMERIC.fullmatch(said)
    if match is None:
        raise RuntimeFailure(f"server {spec.name}: user {said!r} is not numeric (`uid` or `uid:gid`)")
    # A bare uid would get the group that the image's passwd file names, or root's.
    uid, gid = int(match[1]), int(match[2] or match[1])
    if uid == 0 or gid == 0:
        raise RuntimeFailure(f"server {spec.name}: user {said!r} is root, which no workload may be")
    if max(uid, gid) > _LARGEST_ID:
        raise RuntimeFailure(f"server {spec.name}: user {said!r} is out of range")
    return f"{uid}:{gid}"


def listens_on(spec: ServerSpec) -> int | None:
    """Give the port on which the server listens in its container, or None for a stdio server."""
    port = getattr(spec.launch, "port", None)
    return port if spec.transport is not Transport.STDIO and isinstance(port, int) else None


def on_network(made: Made, network: str | None) -> Made:
    """Give the same with the network it goes on. Who shares another's has that one's names too."""
    shared = network is not None and network.startswith(SHARES)
    return replace(made, network=network, hosts=() if shared else made.hosts)
