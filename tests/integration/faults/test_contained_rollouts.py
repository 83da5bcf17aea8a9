"""A rollout in containers, whose gateway is killed in the midst of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.faults.contained import contained, containers
from tests.integration.gateway.gateway import Gateway, Wire, until
from tests.integration.gateway.rolling import Load, change, recorded, replicated, rolled

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
Make = Callable[..., Gateway]


def declared(*arguments: str) -> dict[str, Any]:
    """Declare a server whose changes come in as canaries that are watched for long."""
    how = {"strategy": "canary", "watch": "10m", "share": 0.5, "drain": "5s"}
    return contained(
        "versions", *arguments,
        sharing="shared", stateless=True, replicas={"min": 2, "max": 2}, rollout=how, timeouts={"start": 30},
    )  # fmt: skip


async def test_the_next_gateway_adopts_both_versions_and_goes_on_without_a_failed_call(gateway: Make) -> None:
    made = gateway(servers={"one": declared()}).until_servers(one="ready")
    await replicated(made, "one")
    change(made, {"one": declared("--version", "2")})
    await until(lambda: made.ask("/v1/rollouts")["rollouts"][0]["step"] == "watching", "the canary")
    before = containers(made)
    assert len(before) == 3
    made.kill()
    made.start().until_servers(one="ready")
    load = Load(made, ["one"])
    await until(lambda: made.ask("/v1/rollouts")["rollouts"][0]["step"] == "watching", "the canary again")
    assert containers(made) == before
    assert made.command("rollout", "promote", "one").returncode == 0
    await rolled(made, one="done")
    await load.end()
    assert load.failed == []
    assert recorded(made)["one"] == Counter({"intents": load.ok["one"], "ok": load.ok["one"]})
    assert await Wire(made.url(), modern=True).text("one__version") == "2"
    await until(lambda: len(containers(made)) == 2, "the old version to be gone")
    made.check_end()
    assert containers(made) == []
