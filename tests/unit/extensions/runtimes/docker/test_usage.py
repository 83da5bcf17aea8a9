"""What an engine says of a container's use is read alike for both versions of cgroups."""

from __future__ import annotations

import socket

import pytest

from tidegate.domain.server import Limits
from tidegate.extensions.runtimes.docker.usage import elsewhere, update_of, usage_of, with_parts
from tidegate.ports.runtime import Usage

MIB = 1024 * 1024
COMMON = {
    "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
    "pids_stats": {"current": 7},
    "networks": {"eth0": {"rx_bytes": 10, "tx_bytes": 20}, "eth1": {"rx_bytes": 1, "tx_bytes": 2}},
    "blkio_stats": {
        "io_service_bytes_recursive": [
            {"op": "Read", "value": 100}, {"op": "write", "value": 5}, {"op": "Total", "value": 105},
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "memory",
    [
        {"usage": 60 * MIB, "max_usage": 200 * MIB, "stats": {"inactive_file": 1, "total_inactive_file": 20 * MIB}},
        {"usage": 60 * MIB, "stats": {"inactive_file": 20 * MIB, "anon": 1}},
    ],
    ids=["v1", "v2"],
)  # fmt: skip
def test_what_a_container_uses_is_without_pages_that_can_be_had_back(memory: dict[str, object]) -> None:
    told = usage_of({**COMMON, "memory_stats": memory})
    assert told == Usage(2.5, 40 * MIB, 40 * MIB, 7, 11, 22, 100, 5)


@pytest.mark.parametrize("stats", [{}, {"memory_stats": {}, "networks": None, "blkio_stats": {"x": 1}}])
def test_what_an_engine_leaves_out_is_nothing(stats: dict[str, object]) -> None:
    assert usage_of(stats) == Usage(0.0, 0)


@pytest.mark.parametrize(
    ("total", "name", "other"),
    [
        (8_000_000 * 1024, "somewhere", False),  # the gateway in a container: another name, the same memory
        (4_000_000 * 1024, socket.gethostname(), False),
        (4_000_000 * 1024, "docker-desktop", True),
    ],
)
def test_an_engine_is_elsewhere_where_neither_memory_nor_name_are_ours(
    total: int, name: str, other: bool
) -> None:
    info = {"MemTotal": total, "Name": name}
    assert elsewhere(info, "MemTotal:        8000000 kB\nMemFree: 1 kB\n") is other


def test_swap_goes_along_with_memory() -> None:
    told = update_of(Limits(memory=64 * MIB, cpus=0.25, pids=9))
    assert told == {"Memory": 64 * MIB, "MemorySwap": 64 * MIB, "NanoCpus": 250_000_000, "PidsLimit": 9}


def test_what_goes_through_an_outlet_is_added_to_what_goes_to_companions() -> None:
    own, outlet = Usage(1.0, MIB, rx=10, tx=20), Usage(9.0, 9 * MIB, rx=1000, tx=2000)
    told = with_parts(own, outlet, [Usage(9.0, 2 * MIB), Usage(9.0, 3 * MIB)])
    assert told == Usage(1.0, MIB, rx=1010, tx=2020, companions=5 * MIB)
    assert with_parts(own, None, []) == own
