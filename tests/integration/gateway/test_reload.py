"""A gateway whose settings change while clients use it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import yaml

from tests.integration.gateway.gateway import Gateway, Json, Wire, marked, sdk, server, until

Make = Callable[..., Gateway]


def declared(**servers: Json) -> Json:
    """Declare servers; every endpoint shows all of them. The gateway takes changes when told."""
    return {"reload": "manual", "servers": servers}


def followed(**servers: Json) -> Json:
    """Declare servers in a file that the gateway follows."""
    return {"servers": servers}


def write(made: Gateway, settings: Json, *, rename: bool = False) -> None:
    """Save other settings, in place or as an editor does that writes beside the file and renames."""
    text = yaml.safe_dump({"logs": {"format": "json"}, **marked(settings, made.place)}, sort_keys=False)
    if not rename:
        made.config.write_text(text)
        return
    fresh = made.config.with_name(".tidegate.yaml.swp")
    fresh.write_text(text)
    fresh.rename(made.config)


def reload(made: Gateway) -> None:
    """Have the file taken."""
    assert "problems" in made.ask("/v1/reload", "POST")
    assert in_force(made)["problems"] == []


def in_force(made: Gateway) -> Json:
    """Give what the gateway says of its settings."""
    found: Json = made.status()["settings"]
    return found


def names(made: Gateway) -> list[str]:
    """Give the servers there are."""
    return [each["name"] for each in made.status()["servers"]]


async def reloaded(made: Gateway, version: int) -> Json:
    """Wait until a version is in force."""
    return await until(lambda: in_force(made) if in_force(made)["version"] == version else None, "a reload")


class Load:
    """Calls that go on and on, and what became of them."""

    def __init__(self, url: str, tool: str, clients: int = 4) -> None:
        self.good = 0
        self.bad: list[Json] = []
        self._url = url
        self._tool = tool
        self._clients = clients
        self._stop = False

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._call(each)) for each in range(self._clients)]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def more(self, count: int = 20) -> None:
        """Wait until so many further calls were answered."""
        goal = self.good + len(self.bad) + count
        await until(lambda: self.good + len(self.bad) >= goal, "calls to be answered")

    async def _call(self, number: int) -> None:
        wire = Wire(self._url, modern=number % 2 == 0)
        if not wire.modern:
            await wire.open()
        while not self._stop:
            message = await wire.call(self._tool, {"text": "x"})
            if message.get("result", {}).get("isError") is False or "result" in message:
                self.good += 1
            else:
                self.bad.append(message)


async def test_servers_come_change_and_go_under_load_and_no_call_fails(gateway: Make) -> None:
    one = server("legacy_stdio", stateless=True, sharing="shared", rollout={"watch": "500ms"})
    made = gateway(**declared(one=one, two=server("legacy_stdio"))).until_servers(one="ready", two="ready")
    async with Load(made.url(), "one__echo") as load:
        await load.more()
        write(made, declared(one={**one, "timeouts": {"call": 50}}, three=server("legacy_stdio")))
        told = made.command("reload")
        assert told.returncode == 0, told.stderr
        assert all(word in told.stdout for word in ("three", "two", "one")), told.stdout
        made.until_servers(one="ready", three="ready")
        await load.more()
        before = {each["id"] for each in made.server("one")["workloads"]}
        write(made, declared(one={**one, "env": {"NEW": "1"}}, three=server("legacy_stdio")))
        reload(made)
        await until(
            lambda: not before & {each["id"] for each in made.server("one")["workloads"]}, "a new workload"
        )
        await load.more()
    assert load.bad == []
    assert names(made) == ["one", "three"]
    outcomes = [each["outcome"] for each in made.records() if each["kind"] == "call.outcome"]
    assert outcomes.count("ok") == load.good
    assert set(outcomes) == {"ok"}
    events = [each["data"] for each in made.records() if each.get("data", {}).get("event") == "reloaded"]
    assert [each["by"] for each in events] == ["control", "control"]
    assert events[0]["changes"] == {
        "servers added": ["three"],
        "servers removed": ["two"],
        "servers adjusted": ["one"],
        "endpoints changed": ["/mcp"],
    }
    made.check_end()


async def test_a_file_that_is_saved_by_renaming_is_followed_and_a_bad_one_leaves_all_as_it_was(
    gateway: Make,
) -> None:
    one = server("legacy_stdio")
    made = gateway(**followed(one=one)).until_servers(one="ready")
    write(made, followed(one=one, two=server("legacy_stdio")), rename=True)
    assert (await reloaded(made, 2))["by"] == "file"
    made.config.write_text("servers:\n  one:\n    comand: [nothing]\n")
    problems = (await until(lambda: in_force(made)["problems"] and in_force(made), "the mistake"))["problems"]
    assert f"{made.config}:2: servers.one: " in problems[0]
    assert names(made) == ["one", "two"]
    shown = made.command("servers")
    assert "version 2 stays in force, the file was not taken" in shown.stdout, shown
    again = made.command("reload")
    assert again.returncode == 2
    assert "tidegate.yaml:2" in again.stderr
    wire = await Wire(made.url()).open()
    assert await wire.text("two__echo", {"text": "still"}) == "still"
    assert re.search(r"^tidegate_settings_problems [1-9]", await page(made, "/metrics"), re.MULTILINE)
    write(made, followed(one=one), rename=True)
    assert (await reloaded(made, 3))["problems"] == []
    made.check_end()


async def page(made: Gateway, path: str) -> str:
    """Get a page."""
    async with httpx2.AsyncClient() as http:
        return (await http.get(made.url(path))).text


async def test_a_link_that_is_turned_to_another_directory_is_followed(gateway: Make) -> None:
    one = server("legacy_stdio")
    made = gateway(**followed(one=one)).until_servers(one="ready")
    text = made.config.read_text()
    made.config.unlink()
    for name, content in (("..1", text), ("..2", text + "reload: auto\nlimits: {calls_in_flight: 77}\n")):
        (made.place / name).mkdir()
        (made.place / name / "tidegate.yaml").write_text(content)
    (made.place / "..data").symlink_to("..1")
    made.config.symlink_to(Path("..data") / "tidegate.yaml")
    turned = made.place / "..data_tmp"
    turned.symlink_to("..2")
    turned.rename(made.place / "..data")
    assert (await reloaded(made, 2))["by"] == "file"
    made.check_end()


async def test_a_signal_has_it_read_and_what_needs_a_restart_is_refused_with_all_of_the_file(
    gateway: Make,
) -> None:
    one, two = server("legacy_stdio"), server("legacy_stdio")
    made = gateway(**declared(one=one)).until_servers(one="ready")
    write(made, declared(one=one, two=two))
    assert made.process is not None
    os.kill(made.process.pid, signal.SIGHUP)
    assert (await reloaded(made, 2))["by"] == "signal"
    assert names(made) == ["one", "two"]
    write(made, {"journal": {"durability": "fsync"}, **declared(one=one)})
    assert "journal: needs a restart" in made.ask("/v1/reload", "POST")["problems"][0]
    assert names(made) == ["one", "two"]
    made.check_end()


async def test_an_earlier_version_is_put_back_and_stays_until_the_file_changes(gateway: Make) -> None:
    one = server("legacy_stdio")
    made = gateway(**followed(one=one)).until_servers(one="ready")
    write(made, followed(one=one, two=server("legacy_stdio")))
    await reloaded(made, 2)
    told = made.command("config", "rollback", "1")
    assert told.returncode == 0, told.stderr
    assert names(made) == ["one"]
    assert in_force(made)["in_place_of_the_file"]
    shown = made.command("config", "diff")
    assert shown.returncode == 1
    assert "+  two:" in shown.stdout, shown
    history = made.command("config", "history").stdout
    assert "rollback to 1" in history
    made.kill()
    made.start().until_servers(one="ready")
    assert names(made) == ["one"]
    assert in_force(made)["version"] == 3
    assert "  two:" not in made.command("config", "show", "3").stdout
    write(made, followed(one=one, six=server("legacy_stdio")))
    assert not (await reloaded(made, 4))["in_place_of_the_file"]
    assert names(made) == ["one", "six"]
    for path in (made.state / "versions").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    made.check_end()


async def test_a_new_rule_holds_in_a_session_that_is_open_and_its_client_is_told(gateway: Make) -> None:
    one = server("legacy_stdio")
    settings: Json = declared(one=one)
    made = gateway(**settings).until_servers(one="ready")
    heard: list[str] = []

    async def note(message: Any) -> None:
        heard.append(type(getattr(message, "root", message)).__name__)

    async with sdk(made.url(), "legacy", message_handler=note) as client:
        assert (await client.call_tool("one__add", {"a": 1, "b": 2})).content
        ruled: Json = {"endpoints": {"/mcp": {"rules": [{"allow": {}}, {"deny": {"tools": ["add"]}}]}}}
        write(made, {**ruled, **settings})
        reload(made)
        await until(lambda: "ToolListChangedNotification" in heard, "the client to be told")
        assert "one__add" not in {tool.name for tool in (await client.list_tools()).tools}
        wire = await Wire(made.url()).open()
        refused = await wire.call("one__add", {"a": 1, "b": 2})
        assert refused["error"]["code"] == -32602
    made.check_end()


async def test_endpoints_come_and_go_and_what_is_open_there_ends(gateway: Make) -> None:
    one = server("legacy_stdio")
    both: Json = {"endpoints": {"/mcp": {}, "/old": {}}, **declared(one=one)}
    made = gateway(**both).until_servers(one="ready")
    wire = await Wire(made.url("/old")).open()
    slow = asyncio.create_task(wire.call("one__slow", {"seconds": 1}))
    await until(lambda: made.status()["in_flight"], "a call to be under way")
    write(made, {"reload": "manual", "endpoints": {"/mcp": {}, "/new": {}}, **declared(one=one)})
    reload(made)
    assert "result" in await slow
    assert (await wire.ask("ping")).status == 404
    new = await Wire(made.url("/new")).open()
    assert await new.text("one__echo", {"text": "here"}) == "here"
    made.check_end()
