"""Sets: which companions belong together, and what they and their network are made of, as the Engine API wants it.

Pure functions. Starting and ending them is in `companions`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from tidegate.domain.server import Companion, Image, ServerSpec, Sharing
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.docker import facts, harden, volumes
from tidegate.extensions.runtimes.docker.volumes import INSTANCE, SERVER

Json = Mapping[str, Any]

SET = "dev.tidegate.set"
"""Label with the set's name, on its companions, its network and the workloads that use it."""
COMPANION = "dev.tidegate.companion"
SCOPE = "dev.tidegate.scope"

_NETS = 1024
"""Networks of 128 addresses in 198.18.0.0/15 (RFC 2544: for benchmarks, routed nowhere)."""


@dataclass(frozen=True, slots=True)
class Set:
    """The companions of one scope."""

    name: str
    spec: ServerSpec
    instance: str
    key: WorkloadKey
    scope: str

    def container(self, companion: Companion) -> str:
        """Give the name of a companion's container."""
        return f"{self.name}-{companion.name}"

    def labels(self) -> dict[str, str]:
        """Give what marks all that belongs to it."""
        return {INSTANCE: self.instance, SET: self.name, SERVER: self.spec.name, SCOPE: self.scope}


@dataclass(frozen=True, slots=True)
class Joined:
    """A set that runs, for a workload that goes beside it."""

    name: str
    """Of the set, and of its network."""
    hosts: tuple[str, ...]
    """`name:address` of each companion."""


def set_of(spec: ServerSpec, identity: WorkloadIdentity) -> Set:
    """Say which set a workload uses."""
    keeps = any(one.volumes for one in spec.companions)
    scratch = any(volumes.scratch(volume, identity.key) for one in spec.companions for volume in one.volumes)
    if spec.sharing is Sharing.SHARED:
        scope = "server"
    elif keeps and not scratch:
        scope = hashlib.sha256(volumes.base_key(identity.key.sharing).encode()).hexdigest()[:16]
    else:
        scope = identity.id
    # Of the whole spec only the companions count: a server that is changed beside them goes on with them.
    made = replace(ServerSpec(spec.name, Image(""), ""), companions=spec.companions).digest()
    told = json.dumps([identity.instance, spec.name, scope, made])
    digest = hashlib.sha256(told.encode()).hexdigest()[:16]
    return Set(f"tg-{spec.name}-c{digest}", spec, identity.instance, identity.key, scope)


def body_of(wanted: Set, companion: Companion, made: harden.Made, address: str) -> dict[str, object]:
    """Give the body of "create a container" for a companion: that of a workload, with its own labels and a log."""
    spec = ServerSpec(
        wanted.spec.name,
        Image(companion.image),
        wanted.spec.runtime,
        env=companion.env,
        limits=companion.limits,
        user=made.user,
    )
    name = wanted.container(companion)
    body = harden.container(spec, WorkloadIdentity(name, wanted.instance, wanted.key), made)
    kept = {key: word for key, word in labels_of(body).items() if key.startswith("com.docker.")}
    log = {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}}
    return {
        **body,
        "Labels": {**kept, **wanted.labels(), COMPANION: companion.name},
        "Hostname": companion.name,
        "OpenStdin": False,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        # What it said is read when it could not be used, and is bounded.
        "HostConfig": {**cast("Json", body["HostConfig"]), "LogConfig": log},
        "NetworkingConfig": {"EndpointsConfig": {wanted.name: {"IPAMConfig": {"IPv4Address": address}}}},
    }


def network(wanted: Set, subnet: str) -> dict[str, object]:
    """Give the body of "create a network"."""
    own, others = ipaddress.ip_network(subnet).subnets()
    del own  # the companions', each its own
    return {
        "Name": wanted.name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Internal": True,
        "Attachable": False,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Config": [{"Subnet": subnet, "IPRange": str(others)}]},
        # Without an address of its own on it, this machine is not to be reached over it.
        "Options": {"com.docker.network.bridge.inhibit_ipv4": "true"},
        "Labels": wanted.labels(),
    }


def subnet_of(number: int) -> str:
    """Give one of the networks that sets are made on."""
    first = ipaddress.IPv4Address("198.18.0.0") + (number % _NETS) * 128
    return f"{first}/25"


def on_set(made: harden.Made, joined: Joined) -> harden.Made:
    """Give the same beside companions."""
    labels = {**made.labels, SET: joined.name, facts.COMPANIONS_LABEL: ", ".join(_names(joined))}
    return replace(made, companions=joined.name, hosts=joined.hosts, labels=labels)


def _names(joined: Joined) -> list[str]:
    return [host.partition(":")[0] for host in joined.hosts]


def address_in(subnet: str, place: int) -> str:
    """Give the address of the companion that stands at a place, from 0."""
    return str(ipaddress.ip_network(subnet)[2 + place])


def runs(container: Json | None) -> bool:
    """Tell whether a container that the engine listed runs."""
    return container is not None and container.get("State") in ("running", "paused")


def labels_of(container: Json) -> Mapping[str, str]:
    """Give the labels of what the engine listed."""
    return cast("Mapping[str, str]", container.get("Labels") or {})


def label_of(container: Json, name: str) -> str:
    """Give one of them, or nothing."""
    return labels_of(container).get(name, "")
