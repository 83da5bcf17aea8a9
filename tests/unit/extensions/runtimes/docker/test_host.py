"""What an engine says of itself, and which one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.docker.host import demand, read_abilities, warnings

FULL: dict[str, Any] = {
    "ServerVersion": "28.1",
    "Driver": "overlay2",
    "DefaultRuntime": "runc",
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
    "CgroupVersion": "2",
    "MemoryLimit": True,
    "SwapLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
}


def test_an_engine_that_can_enforce_everything_is_taken_without_a_warning() -> None:
    abilities = read_abilities(FULL)
    demand(abilities, frozenset())
    assert warnings(abilities, frozenset()) == []
    assert abilities.sandbox == "container (runc), seccomp, apparmor, no capabilities, read-only root"


@pytest.mark.parametrize(
    ("key", "need"), [("MemoryLimit", "memory"), ("PidsLimit", "pids"), ("CpuCfsQuota", "cpus")]
)
def test_an_engine_without_a_limit_is_refused_unless_that_is_accepted(key: str, need: Any) -> None:
    abilities = read_abilities({**FULL, key: False})
    with pytest.raises(RuntimeFailure, match=need):
        demand(abilities, frozenset())
    demand(abilities, frozenset([need]))
    assert any(need in line for line in warnings(abilities, frozenset([need])))


@pytest.mark.parametrize("options", [[], ["name=seccomp,profile=unconfined"], None])
def test_an_engine_without_seccomp_is_refused(options: list[str] | None) -> None:
    with pytest.raises(RuntimeFailure, match="seccomp"):
        demand(read_abilities({**FULL, "SecurityOptions": options}), frozenset())


def test_a_rootless_engine_says_so() -> None:
    options = ["name=seccomp,profile=default", "name=rootless"]
    abilities = read_abilities({**FULL, "SecurityOptions": options})
    assert "rootless" in abilities.sandbox
    assert warnings(abilities, frozenset()) == [
        "neither AppArmor nor SELinux confines containers on this engine"
    ]


def test_swap_that_is_not_counted_is_warned_of() -> None:
    assert "swap" in warnings(read_abilities({**FULL, "SwapLimit": False}), frozenset())[0]
