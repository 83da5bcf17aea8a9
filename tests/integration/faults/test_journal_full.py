"""The disk of the journal is full: nothing is done that could not be recorded, and it goes on with room."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.integration.gateway.gateway import Gateway, Wire, marked, read_answer, server, until

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]
ENOUGH = 20_000
"""Calls that fill what the journal had taken ahead."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A place whose state directory is a small disk."""
    state = tmp_path / ".tidegate"
    state.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(state)], check=False, timeout=20)


def fill(state: Path) -> Path:
    """Take all that is free, and give the file that holds it."""
    ballast = state / "ballast"
    with ballast.open("ab", buffering=0) as to:
        for size in (65536, 4096, 1):
            try:
                while to.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


async def call_until_refused(made: Gateway, wire: Wire) -> tuple[int, dict[str, object]]:
    """Call the counter until a call is refused; give how often it answered, and the refusal."""
    answered = 0
    async with httpx2.AsyncClient(timeout=30) as http:
        for number in range(ENOUGH):
            headers, body = wire.request("tools/call", {"name": "old__counter", "arguments": {}}, number)
            got = await http.post(wire.url, json=body, headers=headers)
            message = read_answer(got)
            if "error" in message:
                return answered, {"status": got.status_code, **message["error"]}
            answered = int(message["result"]["content"][0]["text"])
    raise AssertionError("the disk never was full")


async def ready(made: Gateway) -> httpx2.Response:
    """Ask whether calls are taken."""
    async with httpx2.AsyncClient() as http:
        return await http.get(f"{made.base}/readyz")


@pytest.mark.parametrize("durability", ["write", "fsync"])
async def test_with_a_full_disk_no_call_goes_out_it_is_said_and_room_heals_it(
    small: Path, durability: str
) -> None:
    settings = {"servers": {"old": server("legacy_stdio")}, "journal": {"durability": durability}}
    made = Gateway(small, marked(settings, small)).start().until_servers(old="ready")
    try:
        wire = await Wire(made.url()).open()
        assert (await ready(made)).status_code == 200
        ballast = fill(made.state)
        answered, refusal = await call_until_refused(made, wire)
        assert (refusal["status"], refusal["code"]) == (503, -31007)
        assert "its disk is full" in str(refusal["message"])
        for _ in range(20):
            assert (await wire.call("old__counter"))["error"]["code"] == -31007
        modern = await Wire(made.url(), modern=True).call("old__counter")
        assert modern["error"]["code"] == -31007
        told = await ready(made)
        assert told.status_code == 503, told.text
        assert "disk is full" in json.dumps(told.json())
        assert made.server("old")["state"] == "ready"
        ballast.unlink()
        await until(lambda: httpx2.get(f"{made.base}/readyz").status_code == 200, "it to be ready again")
        assert int(await wire.text("old__counter")) == answered + 1, "a refused call had an effect"
        intents = sum(each["kind"] == "call.intent" for each in made.records())
        assert intents == answered + 1
        made.check_end()
    finally:
        made.kill()


async def test_a_gateway_that_starts_on_a_full_disk_says_so_in_a_line(small: Path) -> None:
    settings = {"servers": {"old": server("legacy_stdio")}}
    made = Gateway(small, marked(settings, small)).start().until_servers(old="ready")
    made.stop()
    for each in (made.state / "journal").iterdir():
        if each.suffix == ".jsonl":
            each.unlink()
    fill(made.state)
    done = made.command("serve", "--port", "0")
    assert done.returncode != 0
    said = done.stderr + done.stdout
    assert "Traceback" not in said
    assert said.count("\n") == 1, said
    assert str(made.state) in said, said
