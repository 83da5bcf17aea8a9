"""Parts: what the two sidecars of a workload and their networks are made of, as the Engine API wants it.

Pure functions. Each right that a sidecar has and a workload has not is said here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidegate.domain.server import Network, ServerSpec
from tidegate.domain.workload import WorkloadIdentity
from tidegate.extensions.runtimes.docker import facts, harden
from tidegate.extensions.runtimes.docker.egress.sidecar import cable

CELL, OUTLET = "cell", "outlet"
INSTANCE, SERVER, WORKLOAD = "dev.tidegate.instance", "dev.tidegate.server", "dev.tidegate.workload"

_OUTLET_MEMORY = 128 * 1024 * 1024
"""Twice what 512 connections may have in their buffers."""
_CELL_MEMORY = 64 * 1024 * 1024
"""For the Python that plugs the cable; what stays needs less than one."""
_LEAST_CPUS = 0.25
_NOT_FORWARDING = {"net.ipv4.ip_forward": "0"}
_PEER_DOMAIN = "peer.tidegate.internal"


@dataclass(frozen=True, slots=True)
class Joins:
    """The networks that the sidecars of one workload are on."""

    network: str
    """By which the outlet reaches others."""
    peers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further ones of the outlet, with their subnets: peers are on them."""
    companions: str | None = None
    """That of the workload's companions: the cell's, so that they are reached without the outlet."""
    hosts: tuple[str, ...] = ()
    """`name:address` of the companions."""


@dataclass(frozen=True, slots=True)
class Sidecars:
    """Where the sidecars of one workload are, and what they are told."""

    spec: ServerSpec
    identity: WorkloadIdentity
    image: str
    joins: Joins
    apparmor: bool = False
    resolvers: tuple[str, ...] = ()
    """Addresses of the resolvers that the outlet asks; the engine's where none is."""
    own: tuple[str, ...] = ()
    """Addresses of this machine, to which no name leads."""


def cell_name(workload: str) -> str:
    """Give the name of a workload's cell."""
    return f"{workload}-cell"


def outlet_name(workload: str) -> str:
    """Give the name of a workload's outlet."""
    return f"{workload}-out"


def wanted(spec: ServerSpec, bridged: bool) -> bool:
    """Tell whether a workload is put behind sidecars. `bridged`: HTTP servers without a network are not."""
    if spec.network is Network.ALLOWED:
        return True
    http = harden.listens_on(spec) is not None and spec.network is Network.NONE
    return http and not bridged


def cell(made: Sidecars) -> dict[str, object]:
    """Give the body of "create a container" for the cell."""
    joins, name = made.joins, made.spec.name
    if any(host.startswith(f"{name}:") for host in joins.hosts):
        name = f"{name}-server"  # the name itself is a companion's
    config: dict[str, object] = {
        **_host(made, _CELL_MEMORY, 8),
        # The cable is made in its name space; it becomes nobody when that is done.
        "CapAdd": ["NET_ADMIN", "SETGID", "SETUID"],
        "NetworkMode": joins.companions or "none",
        # The cable's other end is put where this process is; and the cell ends with it.
        "PidMode": f"container:{outlet_name(made.identity.id)}",
        "Dns": [cable.OUTLET],
        "DnsSearch": ["."],
        # Many a server looks up its own name, which would be told as refused.
        "ExtraHosts": [f"{name}:127.0.0.1", *joins.hosts],
        "Init": False,
    }
    if joins.companions:
        # It says itself which resolver is asked: the engine would put its own before the outlet, and newer ones ask
        # nobody else from such a network. Its root is its own, and nothing runs in it but `sleep`, as nobody.
        config["ReadonlyRootfs"] = False
        config["Sysctls"] = _NOT_FORWARDING
    return {**_body(made, CELL, [], config), "Hostname": name}


def outlet(made: Sidecars) -> dict[str, object]:
    """Give the body of "create a container" for the outlet."""
    spec = made.spec
    port = harden.listens_on(spec)
    told = {
        "egress": list(spec.egress),
        "peers": [peer_of(each) for each in spec.peers if ":" in each],
        "networks": list(made.joins.peers.values()),
        "own": list(made.own),
        "port": port,
    }
    config = {
        **_host(made, _OUTLET_MEMORY, 32),
        # What a workload has it refuse is not to cost this machine much more than the workload itself.
        "NanoCpus": int(min(1.0, max(_LEAST_CPUS, spec.limits.cpus)) * 1_000_000_000),
        # To take the cable, to answer from addresses that are not its own, and to see what is refused.
        "CapAdd": ["NET_ADMIN", "NET_RAW", "SETGID", "SETUID"],
        "NetworkMode": made.joins.network,
        "Dns": list(made.resolvers),
        # What comes over the cable ends here; nothing is ever forwarded. Nor is anything answered that did not come
        # from the cell's own end of it: the answer would leave by another way.
        "Sysctls": {**_NOT_FORWARDING, "net.ipv4.conf.all.rp_filter": "1"},
        # Its Python is the first process, whose name space the cell shares.
        "Init": False,
    }
    body = _body(made, OUTLET, [f"TIDEGATE_OUTLET={json.dumps(told)}"], config)
    if port is not None:
        config["PortBindings"] = {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
        body["ExposedPorts"] = {f"{port}/tcp": {}}
    # It hears from the gateway what was recorded.
    return {**body, "OpenStdin": True, "AttachStdin": True}


def peer_of(peer: str) -> tuple[str, str, int]:
    """Give a peer (`name:port`) as the outlet is told it: name, name by which it is found, port."""
    name, _, port = peer.partition(":")
    return name, alias(name), int(port)


def alias(server: str) -> str:
    """Give the name by which a server's outlets are found on the networks of its peers."""
    return f"{server}.{_PEER_DOMAIN}"


def outlets_network(instance: str) -> dict[str, object]:
    """Give the network of all outlets, on which none reaches another."""
    options = {"com.docker.network.bridge.enable_icc": "false"}
    return _network(f"tidegate-{instance[:8]}-outlets", instance, options, internal=False)


def peers_network(instance: str, server: str, peer: str) -> dict[str, object]:
    """Give the network that the outlets of two servers share."""
    first, second = sorted((server, peer))
    # Points part what may hold hyphens itself: two pairs are never on one network.
    name = f"tidegate-{instance[:8]}-peers.{first}.{second}"
    return _network(name, instance, {}, internal=True)


def reached(spec: ServerSpec) -> str:
    """Say in a line what a workload reaches."""
    listed = (*spec.egress, *(f"peer {each.partition(':')[0]}" for each in spec.peers))
    if not listed:
        return "none"
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def _network(name: str, instance: str, options: Mapping[str, str], *, internal: bool) -> dict[str, object]:
    return {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Internal": internal,
        "Attachable": False,
        "EnableIPv6": False,
        "Options": dict(options),
        "Labels": {INSTANCE: instance, facts.PART_LABEL: "network"},
    }


def _body(made: Sidecars, part: str, env: Sequence[str], host: Mapping[str, object]) -> dict[str, object]:
    labels = {**harden.labels(made.identity), facts.PART_LABEL: part}
    return {
        "Image": made.image,
        "User": "0:0",
        "Cmd": [part],
        "Env": list(env),
        "Labels": labels,
        "StdinOnce": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }


def _host(made: Sidecars, memory: int, pids: int) -> dict[str, object]:
    return {
        "CapDrop": ["ALL"],
        "Privileged": False,
        "SecurityOpt": harden.security(made.apparmor),
        "ReadonlyRootfs": True,
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": 1_000_000_000,
        "PidsLimit": pids,
        "Ulimits": [
            {"Name": "nofile", "Soft": 4096, "Hard": 4096},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,
        "OomScoreAdj": 300,
    }
