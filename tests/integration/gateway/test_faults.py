"""Servers that fail, beside one that does not: said where it must be, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.integration.gateway.gateway import Gateway, Wire, marked, server, until

Make = Callable[..., Gateway]


async def test_a_server_killed_during_a_call_is_one_clear_error_one_lost_memory_and_then_works(
    gateway: Make,
) -> None:
    made = gateway(servers={"old": server("legacy_stdio"), "good": server("legacy_stdio")})
    made.until_servers(old="ready", good="ready")
    wire = await Wire(made.url()).open()
    other = await Wire(made.url()).open()
    assert await wire.text("old__counter") == "1"
    assert await other.text("good__counter") == "1"
    pid = json.loads(await wire.text("old__look"))["pid"]
    slow = asyncio.create_task(wire.call("old__slow", {"seconds": 30}))
    await until(lambda: made.server("old")["workloads"][0]["in_flight"], "the call to be under way")
    os.kill(pid, signal.SIGKILL)
    broken = await slow
    assert broken["error"]["code"] == -31002
    assert "old" in broken["error"]["message"]
    lost = await wire.call("old__counter")
    assert lost["error"]["code"] == -31005
    assert await wire.text("old__counter") == "1"
    assert (await other.call("old__counter"))["error"]["code"] == -31005
    assert await other.text("old__counter") == "2"
    later = await Wire(made.url()).open()
    assert await later.text("old__counter") == "3"
    assert await other.text("good__counter") == "2"
    outcomes = [each["outcome"] for each in made.records() if each["kind"] == "call.outcome"]
    assert outcomes.count("failed") == 1
    made.check_end()


async def test_a_stateless_server_that_was_killed_is_simply_there_again(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio", stateless=True, sharing="shared")})
    made.until_servers(old="ready")
    wire = await Wire(made.url()).open()
    pid = json.loads(await wire.text("old__look"))["pid"]
    os.kill(pid, signal.SIGKILL)
    await until(lambda: made.server("old")["workloads"][0]["restarts"], "the restart")
    assert await wire.text("old__echo", {"text": "x"}) == "x"
    made.check_end()


async def test_a_tool_that_ends_its_server_fails_that_call_only(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio", stateless=True)})
    made.until_servers(old="ready")
    wire = Wire(made.url(), modern=True)
    broken = await wire.call("old__crash", {"status": 9})
    assert broken["error"]["code"] == -31002
    assert "status 9" in broken["error"]["message"]
    assert await wire.text("old__echo", {"text": "x"}) == "x"


BAD = {
    "silent": ("silent",),
    "exits": ("exits",),
    "killed": ("killed",),
    "floods": ("floods-bytes",),
    "lines": ("floods-lines",),
    "stderr": ("floods-stderr", "--amount", "50000000"),
    "garbage": ("garbage",),
    "deaf": ("deaf",),
}
"""Servers that misbehave from the first, and how; `garbage` and `stderr` answer all the same."""
WORKING = {"garbage", "stderr"}


@pytest.fixture(scope="module")
def bad_company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One good server among many bad ones."""
    place = tmp_path_factory.mktemp("bad")
    servers = {name: server("broken", *way, timeouts={"start": 4, "call": 5}) for name, way in BAD.items()}
    servers["slow"] = server("legacy_stdio", "--start-delay", "3")
    servers["missing"] = {"command": ["/does/not/exist"], "unsandboxed": True}
    servers["good"] = server("legacy_stdio")
    made = Gateway(place, marked({"servers": servers}, place)).start()
    yield made
    made.check_end()


async def test_a_good_server_serves_at_once_whatever_the_others_do(bad_company: Gateway) -> None:
    bad_company.until_servers(good="ready")
    wire = await Wire(bad_company.url()).open()
    for number in range(20):
        async with asyncio.timeout(2):
            assert await wire.text("good__echo", {"text": str(number)}) == str(number)


async def test_what_is_wrong_with_each_is_said_everywhere(bad_company: Gateway) -> None:
    wrong = [name for name in BAD if name not in WORKING] + ["missing"]

    def all_said() -> bool:
        servers = {each["name"]: each for each in bad_company.status()["servers"]}
        return all(servers[name]["state"] != "ready" and servers[name]["reason"] for name in wrong)

    await until(all_said, "a reason for each that fails")
    async with httpx2.AsyncClient() as http:
        ready = (await http.get(f"{bad_company.base}/readyz")).json()
    listed = (await (await Wire(bad_company.url()).open()).tools())["_meta"]["dev.tidegate/servers"]
    shown = bad_company.command("servers")
    assert shown.returncode == 0
    for name in wrong:
        assert ready["servers"][name]["reason"], name
        assert listed[name]["reason"], name
        assert name in shown.stdout
    assert ready["servers"]["good"] == {"state": "ready"}
    assert "good" not in listed
    assert "does/not/exist" in ready["servers"]["missing"]["reason"]


async def test_a_server_that_writes_garbage_or_floods_its_log_still_works(bad_company: Gateway) -> None:
    bad_company.until_servers(garbage="ready", stderr="ready")
    wire = await Wire(bad_company.url()).open()
    assert await wire.text("garbage__echo", {"text": "x"}) == "x"
    assert await wire.text("stderr__echo", {"text": "x"}) == "x"


async def test_a_server_that_is_slow_to_start_is_there_in_the_end(bad_company: Gateway) -> None:
    bad_company.until_servers(slow="ready")
    assert await (await Wire(bad_company.url()).open()).text("slow__echo", {"text": "x"}) == "x"


async def test_a_server_that_failed_keeps_its_known_tools_marked_and_says_why_when_called(
    gateway: Make,
) -> None:
    made = gateway(servers={"old": server("legacy_stdio"), "good": server("legacy_stdio")})
    made.until_servers(old="ready", good="ready")
    made.stop()
    text = made.config.read_text()
    # The same spec, so the same kept definitions; the program behind it is gone.
    script = made.place / "server.py"
    here = Path(__file__).parents[2] / "servers"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(here)!r})\nimport legacy_stdio\nlegacy_stdio.main()\n"
    )
    made.config.write_text(text.replace(str(here / "legacy_stdio.py"), str(script), 1))
    made.start().until_servers(old="ready", good="ready")
    made.stop()
    script.write_text("import sys\nprint('the database is gone', file=sys.stderr)\nsys.exit(4)\n")
    made.start().until_servers(good="ready", old="failed")
    wire = await Wire(made.url()).open()

    async def marked_tools() -> dict[str, str]:
        return {
            tool["name"]: tool["_meta"]["dev.tidegate/unavailable"]
            for tool in (await wire.tools())["tools"]
            if "_meta" in tool
        }

    assert "old__echo" in await marked_tools()
    assert "good__echo" not in await marked_tools()
    for _ in range(3):  # a call does not make it forget that the server fails
        failed = await wire.call("old__echo", {"text": "x"})
        assert failed["error"]["code"] == -31001
        assert "status 4" in failed["error"]["message"]
    await until(lambda: made.server("old")["state"] != "failed" or made.server("old")["retry_in"], "a retry")
    await until(lambda: made.server("old")["state"] == "failed", "the retry to fail")
    assert "old__echo" in await marked_tools()
    assert "the database is gone" in made.command("logs", "old").stdout
    assert await wire.text("good__echo", {"text": "x"}) == "x"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(here)!r})\nimport legacy_stdio\nlegacy_stdio.main()\n"
    )
    made.until_servers(old="ready")
    assert await wire.text("old__echo", {"text": "healed"}) == "healed"


async def test_a_server_that_hangs_fails_the_call_in_time_and_is_replaced(gateway: Make) -> None:
    made = gateway(servers={"bad": server("broken", "silent", "--after", "4", timeouts={"call": 1})})
    made.until_servers(bad="ready")
    wire = await Wire(made.url()).open()
    first = ""
    for _ in range(4):  # discover, initialize and the list were answered, and maybe a call
        message = await wire.call("bad__echo", {"text": "x"})
        if "error" in message:
            first = message["error"]["code"]
            break
    assert first == -31004
    before = made.server("bad")["workloads"][0]["id"]
    await until(lambda: made.server("bad")["workloads"][0]["id"] != before, "it to be replaced")
    lost = await wire.call("bad__echo", {"text": "x"})
    assert lost["error"]["code"] == -31005


@pytest.mark.parametrize("way", ["huge-line", "floods-bytes"])
async def test_a_server_that_breaks_during_a_call_is_an_error_and_comes_back(gateway: Make, way: str) -> None:
    made = gateway(
        servers={"bad": server("broken", way, "--after", "3", stateless=True, timeouts={"call": 3})}
    )
    made.until_servers(bad="ready")
    wire = await Wire(made.url()).open()
    async with asyncio.timeout(15):
        codes = []
        for _ in range(2):
            message = await wire.call("bad__echo", {"text": "x"})
            codes.append(message.get("error", {}).get("code", "ok"))
    assert codes[0] in (-31002, -31004) or codes[1] in (-31002, -31004), codes
    await until(lambda: made.server("bad")["state"] == "ready", "it to be back")
    made.check_end()


async def test_answers_with_foreign_ids_reach_nobody(gateway: Make) -> None:
    made = gateway(servers={"bad": server("broken", "wrong-ids", "--after", "3", timeouts={"call": 1})})
    made.until_servers(bad="ready")
    wire = await Wire(made.url()).open()
    assert (await wire.call("bad__echo", {"text": "x"}))["error"]["code"] == -31004


async def test_a_second_answer_to_a_call_reaches_nobody(gateway: Make) -> None:
    made = gateway(servers={"bad": server("broken", "duplicates")})
    made.until_servers(bad="ready")
    wire = await Wire(made.url()).open()
    for number in range(5):
        assert await wire.text("bad__echo", {"text": str(number)}) == str(number)


async def test_a_list_without_end_is_given_up_and_said(gateway: Make) -> None:
    made = gateway(servers={"bad": server("legacy_stdio", "--endless"), "good": server("legacy_stdio")})
    made.until_servers(good="ready")
    await until(lambda: "server.list_failed" in made.said(), "the list to be given up")
    wire = await Wire(made.url()).open()
    listed = await wire.tools()
    assert listed["_meta"]["dev.tidegate/servers"]["bad"]["reason"]
    assert {tool["name"].partition("__")[0] for tool in listed["tools"]} == {"good"}
    made.check_end()


@pytest.mark.sandbox
async def test_a_sandboxed_server_serves_and_says_what_holds_for_it(gateway: Make) -> None:
    here = str(Path(__file__).parents[2] / "servers")
    settings = {
        "command": [sys.executable, "/servers/legacy_stdio.py"],
        "mounts": [{"source": here, "target": "/servers"}],
    }
    made = gateway(servers={"boxed": settings}).until_servers(boxed="ready")
    wire = await Wire(made.url()).open()
    seen = json.loads(await wire.text("boxed__look"))
    assert "home" not in seen["root"]
    refused = await wire.call("boxed__read", {"path": str(made.config)})
    assert refused["result"]["isError"]
    assert seen["uid"] != 0
    assert "NONE" not in made.server("boxed")["workloads"][0]["facts"]["sandbox"]
    made.check_end()
