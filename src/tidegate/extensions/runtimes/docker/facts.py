"""Facts: what an inspected container says, as addresses, endings and lines for people.

Pure functions over the engine's JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from tidegate.domain.workload import Observed, WorkloadIdentity

Json = Mapping[str, Any]

_MIB = 1024 * 1024


def ending_of(container: Json) -> str:
    """Say why a container's stream ended."""
    state = cast("Json", container.get("State") or {})
    if state.get("Running"):
        return "the engine dropped the stream of a server that still runs"
    code = state.get("ExitCode")
    if state.get("OOMKilled"):
        memory = int(container.get("HostConfig", {}).get("Memory") or 0)
        return f"killed: out of memory (limit {memory // _MIB} MiB)"
    if isinstance(code, int) and 128 < code < 160:
        return f"killed by signal {code - 128}"
    return f"exited with status {code}"


def address_of(container: Json) -> str | None:
    """Give the base URL of an HTTP workload: its published port, else its address on its own network."""
    port = container.get("Config", {}).get("Labels", {}).get(PORT_LABEL)
    if not port:
        return None
    network = cast("Json", container.get("NetworkSettings") or {})
    published = cast("Json", network.get("Ports") or {}).get(f"{port}/tcp")
    if published:
        return f"http://127.0.0.1:{published[0]['HostPort']}"
    for name, joined in cast("Mapping[str, Json]", network.get("Networks") or {}).items():
        if joined.get("IPAddress") and not name.startswith(SET_NETWORK):
            return f"http://{joined['IPAddress']}:{port}"
    return None


PORT_LABEL = "dev.tidegate.port"
"""Label with the port on which an HTTP server listens in its container."""
IMAGE_LABEL = "dev.tidegate.image"
"""Label with the image as people know it; the container itself names the id."""
DIGEST_LABEL = "dev.tidegate.digest"
"""Label with what pins the image: its digest in the registry, or its id."""
NETWORK_LABEL = "dev.tidegate.network"
"""Label with what it reaches, where that is not everything."""
PART_LABEL = "dev.tidegate.part"
"""Label of what stands beside a workload and is none: a sidecar of its network."""
SANDBOX_LABEL = "dev.tidegate.sandbox"
"""Label with the line that says what confines the workload."""
COMPANIONS_LABEL = "dev.tidegate.companions"
"""Label with the names of what runs beside it."""
VOLUMES_LABEL = "dev.tidegate.volumes"
"""Label with its volumes, and what holds their sizes."""
SET_NETWORK = "tg-"
"""Beginning of the names of networks with companions, over which this machine reaches nothing."""


def facts_of(container: Json) -> dict[str, str]:
    """Say what holds for a container, for people."""
    labels = cast("Mapping[str, str]", container.get("Config", {}).get("Labels") or {})
    host = cast("Json", container.get("HostConfig") or {})
    memory, pids = int(host.get("Memory") or 0) // _MIB, int(host.get("PidsLimit") or 0)
    cpus = int(host.get("NanoCpus") or 0) / 1e9
    return {
        **labelled_facts(labels),
        "user": str(container.get("Config", {}).get("User", "")),
        "network": labels.get(NETWORK_LABEL) or str(host.get("NetworkMode", "")),
        "limits": f"{memory} MiB memory, {cpus:g} {'cpu' if cpus == 1 else 'cpus'}, {pids} pids",
        "container": str(container.get("Id", ""))[:12],
    }


def labelled_facts(labels: Mapping[str, str]) -> dict[str, str]:
    """Give the facts that a workload's labels keep."""
    named = {
        "image": IMAGE_LABEL,
        "digest": DIGEST_LABEL,
        "sandbox": SANDBOX_LABEL,
        "companions": COMPANIONS_LABEL,
        "volumes": VOLUMES_LABEL,
    }
    return {name: labels[label] for name, label in named.items() if label in labels}


def observed(listed: Json) -> Observed | None:
    """Read one entry of the engine's list of containers, or None where it is not a workload of ours."""
    labels = cast("Mapping[str, str]", listed.get("Labels") or {})
    identity = WorkloadIdentity.from_labels(labels)
    if identity is None or PART_LABEL in labels:
        return None
    running = listed.get("State") in ("running", "paused")
    return Observed(
        identity, running, _listed_address(listed, labels) if running else None, labelled_facts(labels)
    )


def _listed_address(listed: Json, labels: Mapping[str, str]) -> str | None:
    port = labels.get(PORT_LABEL)
    if not port:
        return None
    for published in cast("list[Json]", listed.get("Ports") or []):
        if str(published.get("PrivatePort")) == port and published.get("PublicPort"):
            return f"http://127.0.0.1:{published['PublicPort']}"
    joined = cast(
        "Mapping[str, Json]", cast("Json", listed.get("NetworkSettings") or {}).get("Networks") or {}
    )
    addresses = [
        str(one["IPAddress"])
        for name, one in joined.items()
        if one.get("IPAddress") and not name.startswith(SET_NETWORK)
    ]
    return f"http://{addresses[0]}:{port}" if addresses else None
