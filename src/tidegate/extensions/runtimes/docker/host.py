"""Host: what an engine and its machine can enforce, and what that means for workloads.

Reads the engine's own description. The words are for people; `Abilities` is for the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.docker.engine import open_engine
from tidegate.extensions.runtimes.docker.settings import DockerSettings, Need


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the engine says of itself."""

    version: str
    storage: str
    runtime: str
    seccomp: bool
    apparmor: bool
    selinux: bool
    rootless: bool
    userns: bool
    memory: bool
    swap: bool
    pids: bool
    cpus: bool
    cgroup: str

    @property
    def missing(self) -> tuple[Need, ...]:
        """What a workload needs and would not get."""
        held: dict[Need, bool] = {
            "seccomp": self.seccomp,
            "memory": self.memory,
            "pids": self.pids,
            "cpus": self.cpus,
        }
        return tuple(need for need, there in held.items() if not there)

    @property
    def sandbox(self) -> str:
        """One line for people: what stands between a workload and the host."""
        parts = [f"container ({self.runtime})"]
        parts += [name for name in ("seccomp", "apparmor", "selinux") if getattr(self, name)]
        parts += [name for name in ("rootless", "userns") if getattr(self, name)]
        return ", ".join([*parts, "no capabilities", "read-only root"])


def read_abilities(info: Mapping[str, Any]) -> Abilities:
    """Read the engine's answer to `GET /info`."""
    options = [str(option) for option in cast("list[object]", info.get("SecurityOptions") or [])]

    def has(name: str) -> bool:
        return any(f"name={name}" in option.split(",") for option in options)

    return Abilities(
        version=str(info.get("ServerVersion", "unknown")),
        storage=str(info.get("Driver", "unknown")),
        runtime=str(info.get("DefaultRuntime", "unknown")),
        # An engine started with an unconfined default says so in the option's profile.
        seccomp=has("seccomp") and not any("profile=unconfined" in option for option in options),
        apparmor=has("apparmor"),
        selinux=has("selinux"),
        rootless=has("rootless"),
        userns=has("userns"),
        memory=bool(info.get("MemoryLimit")),
        swap=bool(info.get("SwapLimit")),
        pids=bool(info.get("PidsLimit")),
        cpus=bool(info.get("CpuCfsQuota")),
        cgroup=f"v{info.get('CgroupVersion', '1')}",
    )


def warnings(abilities: Abilities, accepted: frozenset[Need]) -> list[str]:
    """Say what does not hold on this engine, one line each."""
    lines = [
        f"the engine cannot enforce {need}: "
        + (
            "workloads run without it, as accept_missing says"
            if need in accepted
            else "no workload is started"
        )
        for need in abilities.missing
    ]
    if not abilities.apparmor and not abilities.selinux:
        lines.append("neither AppArmor nor SELinux confines containers on this engine")
    if not abilities.swap and abilities.memory:
        lines.append("the engine does not count swap: a workload may use swap beyond its memory limit")
    return lines


def demand(abilities: Abilities, accepted: frozenset[Need]) -> None:
    """Refuse an engine on which a limit would not hold.

    Raises:
        RuntimeFailure: something is missing that the settings do not accept.
    """
    lacking = [need for need in abilities.missing if need not in accepted]
    if lacking:
        raise RuntimeFailure(
            f"the container engine cannot enforce {', '.join(lacking)}; "
            "runtimes.docker.accept_missing would run workloads without it"
        )


async def check(settings: DockerSettings) -> list[str]:
    """Say in lines for people whether an engine answers and what it enforces.

    Raises:
        EngineUnavailable: none answers within the deadline.
    """
    async with open_engine(settings) as engine:
        abilities = read_abilities(await engine.info())
    able = [
        name
        for name in ("seccomp", "apparmor", "selinux", "memory", "pids", "cpus")
        if getattr(abilities, name)
    ]
    head = f"engine {abilities.version}, storage {abilities.storage}, cgroup {abilities.cgroup}"
    return [
        head,
        f"enforces {', '.join(able) or 'nothing'}",
        *(f"warning: {w}" for w in warnings(abilities, settings.accept_missing)),
    ]
