"""Section 5 of the CIS Docker Benchmark (1.2 to 1.5), "container runtime", as checks of an inspected container.

Our own reading of the points, not Docker Bench's code. A check gives what it would warn of, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
SENSITIVE = ("/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr")


@dataclass(frozen=True)
class Seen:
    """What is known of a container."""

    inspect: Json
    processes: list[str]
    """Command lines, as the engine lists them."""

    @property
    def host(self) -> Json:
        return self.inspect["HostConfig"]

    @property
    def options(self) -> list[str]:
        return self.host["SecurityOpt"] or []

    @property
    def published(self) -> list[tuple[int, str]]:
        ports = self.inspect["NetworkSettings"]["Ports"] or {}
        return [(int(name.partition("/")[0]), b["HostIp"]) for name, bs in ports.items() for b in bs or []]

    @property
    def sources(self) -> list[str]:
        return [mount["Source"] for mount in self.inspect["Mounts"]]


def warn(condition: object, words: str) -> str | None:
    return words if condition else None


def below(path: str, place: str) -> bool:
    return path == place or path.startswith(place + "/")


CHECKS: Mapping[str, tuple[str, Callable[[Seen], str | None]]] = {
    "5.1": ("AppArmor profile", lambda s: warn(not s.inspect["AppArmorProfile"], "no profile")),
    "5.2": ("SELinux options", lambda s: warn(not any("label" in o for o in s.options), "no label")),
    "5.3": (
        "capabilities restricted",
        lambda s: warn(s.host["CapAdd"] or "ALL" not in (s.host["CapDrop"] or []), "capabilities left"),
    ),
    "5.4": ("not privileged", lambda s: warn(s.host["Privileged"], "privileged")),
    "5.5": (
        "no sensitive host directory",
        lambda s: warn(any(p == "/" or below(p, d) for p in s.sources for d in SENSITIVE), "mounted"),
    ),
    "5.6": ("no sshd inside", lambda s: warn(any("sshd" in p for p in s.processes), "sshd runs")),
    "5.7": ("no privileged port", lambda s: warn(any(p < 1024 for p, _ in s.published), "port below 1024")),
    "5.8": ("only needed ports open", lambda s: warn(s.host["PublishAllPorts"], "all ports published")),
    "5.9": ("not the host's network", lambda s: warn(s.host["NetworkMode"] == "host", "host network")),
    "5.10": ("memory limited", lambda s: warn(not s.host["Memory"], "no limit")),
    "5.11": (
        "CPU limited",
        lambda s: warn(not (s.host["CpuShares"] or s.host["NanoCpus"] or s.host["CpuQuota"]), "no limit"),
    ),
    "5.12": ("root file system read-only", lambda s: warn(not s.host["ReadonlyRootfs"], "writable")),
    "5.13": (
        "ports on one interface",
        lambda s: warn(any(ip in ("", "0.0.0.0", "::") for _, ip in s.published), "on every interface"),
    ),
    "5.14": (
        "restart on failure, 5 times",
        lambda s: warn(s.host["RestartPolicy"]["MaximumRetryCount"] != 5, "another policy"),
    ),
    "5.15": ("not the host's processes", lambda s: warn(s.host["PidMode"] == "host", "host PIDs")),
    "5.16": ("not the host's IPC", lambda s: warn(s.host["IpcMode"] in ("host", "shareable"), "shared IPC")),
    "5.17": ("no host device", lambda s: warn(s.host["Devices"], "devices")),
    "5.18": ("ulimits set", lambda s: warn(not s.host["Ulimits"], "the engine's")),
    "5.19": (
        "mounts not shared",
        lambda s: warn(any(m["Propagation"] == "shared" for m in s.inspect["Mounts"]), "shared"),
    ),
    "5.20": ("not the host's UTS", lambda s: warn(s.host["UTSMode"] == "host", "host UTS")),
    "5.21": (
        "seccomp not disabled",
        lambda s: warn(any("seccomp" in o and "unconfined" in o for o in s.options), "unconfined"),
    ),
    "5.22": ("no privileged exec", lambda s: warn(s.inspect["ExecIDs"], "exec")),
    "5.23": ("no exec as root", lambda s: warn(s.inspect["ExecIDs"], "exec")),
    "5.24": (
        "cgroup not replaced",
        lambda s: warn(s.host["CgroupParent"] not in ("", "docker", "/docker"), "own cgroup"),
    ),
    "5.25": (
        "no new privileges",
        lambda s: warn(not any(o.startswith("no-new-privileges") for o in s.options), "may gain"),
    ),
    "5.26": ("health checked", lambda s: warn("Health" not in s.inspect["State"], "no health check")),
    "5.27": (
        "image pinned",
        lambda s: warn(not s.inspect["Config"]["Image"].startswith("sha256:"), "a tag that may move"),
    ),
    "5.28": ("PIDs limited", lambda s: warn((s.host["PidsLimit"] or 0) <= 0, "no limit")),
    "5.29": (
        "not the default bridge",
        lambda s: warn(s.host["NetworkMode"] in ("default", "bridge"), "docker0"),
    ),
    "5.30": ("not the host's user namespace", lambda s: warn(s.host["UsernsMode"] == "host", "host users")),
    "5.31": (
        "engine's socket not mounted",
        lambda s: warn(any(p.endswith("docker.sock") for p in s.sources), "mounted"),
    ),
}


def section5(seen: Seen) -> dict[str, str]:
    """Give the points that would warn, with why."""
    found = {number: check(seen) for number, (_, check) in CHECKS.items()}
    return {number: words for number, words in found.items() if words is not None}
