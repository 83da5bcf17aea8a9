"""A spec that is kept comes back whole, and tells nobody its secrets."""

from __future__ import annotations

import pytest

from tidegate.domain.server import (
    Command,
    Companion,
    Image,
    Mount,
    Network,
    Package,
    Remote,
    Rollout,
    Scaling,
    Schedule,
    Secret,
    ServerSpec,
    Sharing,
    Strategy,
    Transport,
    Volume,
)
from tidegate.fleet.specs import SpecKeeper

KEY = b"k" * 32
VOLUME = Volume("data", "/data", 1 << 20)
SPECS = [
    ServerSpec(
        "one", Image("x@sha256:" + "0" * 64, ("-v",), ("/run",), Transport.HTTP, 80, "/x"), "docker",
        env={"A": "1", "TOKEN": Secret("hunter2")}, mounts=(Mount("/a", "/b", True),), network=Network.ALLOWED,
        egress=("a:1",), volumes=(VOLUME,), companions=(Companion("db", "pg", env={"P": Secret("hunter2")}),),
        secrets={"cert": Secret("hunter2", ("file:/x",))}, sharing=Sharing.SHARED,
        scaling=Scaling(schedules=(Schedule("peak", frozenset({0, 4}), 1, 2, "UTC", 3),), signals={"storm": 4}),
        rollout=Rollout(Strategy.CANARY),
    ),
    ServerSpec("two", Command(("a", "b"), True), "process", stateless=True),
    ServerSpec("three", Package("pypi", "x", "1", ("mcp<2",)), "process"),
    ServerSpec("four", Remote("https://x/mcp", headers={"authorization": Secret("hunter2")}), "remote"),
]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_kept_spec_comes_back_equal_and_shows_no_secret(spec: ServerSpec) -> None:
    sealed = SpecKeeper(KEY).seal(spec)
    assert b"hunter2" not in sealed
    found = SpecKeeper(KEY).open(sealed)
    assert found == spec
    assert found is not None
    assert found.digest() == spec.digest()
    assert found.secret_origins == spec.secret_origins


def test_a_spec_that_was_changed_or_sealed_with_another_key_is_not_taken() -> None:
    sealed = SpecKeeper(KEY).seal(SPECS[1])
    assert SpecKeeper(b"x" * 32).open(sealed) is None
    assert SpecKeeper(KEY).open(sealed[:-1] + b"\0") is None
    assert SpecKeeper(KEY).open(b"") is None
