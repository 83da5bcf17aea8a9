"""A server that will not run with less: what was taken from it is not given back, over a restart neither."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway.gateway import Gateway, Wire, until
from tests.integration.gateway.rolling import change, rolled

Make = Callable[..., Gateway]
Json = dict[str, Any]
SERVERS = str(Path(__file__).parents[2] / "servers")
pytestmark = pytest.mark.sandbox


def declared(*mounts: Json) -> dict[str, Json]:
    """Declare a server that needs a directory; it is given that only by one of the mounts."""
    return {
        "one": {
            "command": [sys.executable, "/servers/versions.py", "--needs", "/kept/papers"],
            "mounts": [{"source": SERVERS, "target": "/servers"}, *mounts],
            "sharing": "shared", "stateless": True, "timeouts": {"start": 20},
        }
    }  # fmt: skip


async def refusal(made: Gateway) -> str:
    """Give what a call is refused with."""
    message = await Wire(made.url(), modern=True).call("one__echo", {"text": "x"})
    return str(message["error"]["message"])


async def test_a_server_that_fails_without_its_mount_stays_in_quarantine_until_an_undo(
    gateway: Make, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "papers").touch()
    mount = {"source": str(kept), "target": "/kept"}
    made = gateway(servers=declared(mount))
    made.until_servers(one="ready")
    assert await Wire(made.url(), modern=True).text("one__echo", {"text": "x"}) == "x"
    change(made, declared())
    reason = (await rolled(made, one="quarantined"))["one"]["reason"]
    assert "failed 3 times" in reason
    assert reason.endswith("it is not taken back, as the version before it had the mount /kept")
    assert f"quarantined: {reason}" in await refusal(made)
    await until(lambda: not made.pids(), "the old version to be gone")
    steps = [each["data"] for each in made.records() if each["kind"] == "rollout"]
    assert (steps[-1]["event"], steps[-1]["rights"]) == ("quarantined", ["the mount /kept"])
    made.kill()
    made.start()
    await rolled(made, one="quarantined")
    made.until_servers(one="quarantined")
    assert made.server("one")["reason"] == reason
    await until(lambda: reason in str(made.missing("/mcp")["one"]), "its endpoint to say so")
    assert not made.pids()
    made.ask("/v1/rollouts/one/undo", "POST")
    await rolled(made, one="rolled_back")
    made.until_servers(one="ready")
    assert await Wire(made.url(), modern=True).text("one__echo", {"text": "x"}) == "x"
    made.check_end()
