"""Nobody is asked another's question: clients of two principals, and two sessions of one, at one server at once.

The servers are shared by all, so that only the gateway can tell whose question is whose. On a pipe it may refuse
a server that asks while several clients could be meant, never guess; a client then asks again.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from mcp import MCPError

from tests.integration.gateway.gateway import Gateway, marked
from tests.integration.gateway.test_access import make_key
from tests.matrix.acts_client import asked_in
from tests.matrix.peer import (
    EVERYTHING,
    LEGACY,
    MODERN,
    NOTHING,
    OWN,
    TASKS,
    Json,
    Offers,
    Peer,
    connect,
    http,
    refused,
)
from tests.matrix.upstreams import FORMS, Upstream

WHO = (("anna-1", "anna"), ("anna-2", "anna"), ("bert-1", "bert"))
"""Clients and their principals."""
EACH = pytest.mark.parametrize(
    ("form", "mode"), [(form, mode) for form in FORMS for mode in (LEGACY, MODERN)]
)
Act = Callable[[Peer, str, Json], Awaitable[None]]


@dataclass
class Place:
    """A gateway that wants keys, and two of them."""

    gateway: Gateway
    keys: dict[str, str]

    @asynccontextmanager
    async def client(
        self, form: str, mode: str, who: tuple[str, str] = WHO[0], offers: Offers = EVERYTHING
    ) -> AsyncIterator[Peer]:
        """Connect a client to the endpoint of one server."""
        name, principal = who
        url = self.gateway.url(f"/{form}")
        about = {"upstream": FORMS[form][0], "carrier": FORMS[form][1]}
        async with connect(http(url, self.keys[principal]), mode, name=name, offers=offers, **about) as peer:
            yield peer

    @asynccontextmanager
    async def everybody(self, form: str, *modes: str) -> AsyncIterator[dict[str, Peer]]:
        """Connect all of them; with one mode, or one mode each."""
        async with AsyncExitStack() as stack:
            found: dict[str, Peer] = {}
            for number, who in enumerate(WHO):
                mode = modes[number % len(modes)]
                found[who[0]] = await stack.enter_async_context(self.client(form, mode, who))
            yield found


@pytest.fixture(scope="module")
def place(servers: dict[str, Upstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One gateway for all, before servers that everybody shares."""
    at = tmp_path_factory.mktemp("isolation")
    settings = {
        "auth": {"type": "keys"},
        "servers": {name: {**each.declared(), "sharing": "shared"} for name, each in servers.items()},
        "endpoints": {f"/{name}": {"servers": [name], "names": "plain"} for name in servers},
    }
    gateway = Gateway(at, marked(settings, at)).start()
    keys = {name: make_key(gateway, name)[1] for name in ("anna", "bert")}
    gateway.until_servers(**dict.fromkeys(servers, "ready"))
    yield Place(gateway, keys)
    gateway.check_end()


async def at_once(peers: dict[str, Peer], act: Act) -> None:
    """Have the server work for all clients at the same time; again where its question was refused."""
    room = uuid.uuid4().hex

    async def one(name: str, peer: Peer) -> None:
        meeting: Json = {"meet": {"room": room, "who": name, "of": len(peers)}}
        async with asyncio.timeout(30):
            while True:
                try:
                    return await act(peer, name, meeting)
                except (MCPError, AssertionError) as problem:
                    said = str(problem)
                    if not any(word in said for word in ("refused", "is_error=True", "timed out")):
                        raise
                meeting = {}
                await asyncio.sleep(0)

    await asyncio.gather(*(one(name, peer) for name, peer in peers.items()))


def see_that_each_was_asked_only_its_own(peers: dict[str, Peer]) -> None:
    """See that no client was asked, or told, with another's name in it."""
    for name, peer in peers.items():
        seen = asked_in(peer) + json.dumps([each.data for each in peer.logged])
        for other in peers.keys() - {name}:
            assert other not in seen, f"{name} was asked {other}'s question"


@EACH
async def test_a_form_and_a_completion_are_asked_only_of_the_client_whose_call_asks(
    place: Place, form: str, mode: str
) -> None:
    async def act(peer: Peer, name: str, meeting: Json) -> None:
        answered = await peer.json("ask_form", {"text": f"form for {name}", **meeting})
        assert answered["content"] == {"name": name}
        sampled = await peer.json("ask_sampling", {"text": f"sampling for {name}"})
        assert sampled["content"]["text"] == f"sampled by {name}"

    async with place.everybody(form, mode) as peers:
        await at_once(peers, act)
        see_that_each_was_asked_only_its_own(peers)
        for name, peer in peers.items():
            assert f"form for {name}" in asked_in(peer)


@EACH
async def test_roots_are_those_of_the_client_whose_call_asks(place: Place, form: str, mode: str) -> None:
    async def act(peer: Peer, name: str, meeting: Json) -> None:
        told = await peer.json("ask_roots", meeting)
        assert told["roots"][-1] == {"uri": f"file:///home/{name}"}

    async with place.everybody(form, mode) as peers:
        await at_once(peers, act)


@EACH
async def test_logs_and_progress_reach_only_the_client_whose_call_they_are_of(
    place: Place, form: str, mode: str
) -> None:
    async def act(peer: Peer, name: str, meeting: Json) -> None:
        done: list[float] = []

        async def told(progress: float, total: float | None, message: str | None) -> None:
            done.append(progress)
            peer.news()

        await peer.text("progress", {"steps": len(name)}, progress_callback=told)
        await peer.until(lambda: len(done) == len(name), "progress")
        assert done == [float(step) for step in range(1, len(name) + 1)]
        await peer.text("log", {"text": f"logged for {name}", **meeting}, meta={f"{OWN}logLevel": "debug"})

    async with place.everybody(form, mode) as peers:
        if mode == LEGACY:
            for peer in peers.values():
                await peer.raw("logging/setLevel", {"level": "debug"})
        await at_once(peers, act)
        for name, peer in peers.items():  # alone, at the latest, its logs reach it
            await act(peer, name, {})
            await peer.until(
                lambda peer=peer: any(each.level == "error" for each in peer.logged), "a log message"
            )
        see_that_each_was_asked_only_its_own(peers)


@pytest.mark.parametrize("form", FORMS)
async def test_clients_of_both_eras_at_one_server_are_kept_apart(place: Place, form: str) -> None:
    async def act(peer: Peer, name: str, meeting: Json) -> None:
        answered = await peer.json("ask_form", {"text": f"form for {name}", **meeting})
        assert answered["content"] == {"name": name}

    async with place.everybody(form, LEGACY, MODERN, MODERN) as peers:
        await at_once(peers, act)
        see_that_each_was_asked_only_its_own(peers)


@EACH
async def test_a_client_that_declared_nothing_offers_nothing_though_others_offer_everything(
    place: Place, form: str, mode: str
) -> None:
    async with (
        place.client(form, mode) as everything,
        place.client(form, mode, WHO[2], NOTHING) as nothing,
    ):
        answered = await everything.json("ask_form", {"text": "form"})
        assert answered["content"] == {"name": "anna-1"}
        told = (await nothing.json("declared"))["capabilities"]
        assert {key: value for key, value in told.items() if value} == {}
        for tool in ("ask_form", "ask_url", "ask_sampling", "ask_sampling_tools", "ask_roots"):
            if FORMS[form][0] == "modern":
                await refused(nothing.raw("tools/call", {"name": tool, "arguments": {}}), -32021)
            else:
                assert (await nothing.call(tool)).is_error
        assert nothing.asked == []


@EACH
@pytest.mark.parametrize("what", ["form", "url", "sampling", "roots"])
async def test_a_server_that_asks_what_was_not_declared_is_refused(
    place: Place, form: str, mode: str, what: str
) -> None:
    async with place.client(form, mode, WHO[2], NOTHING) as nothing:
        call = nothing.raw("tools/call", {"name": "ask_anyway", "arguments": {"what": what}})
        if FORMS[form][0] == "modern":  # 2026-07-28 basic §Error Codes: what the client had to declare
            error = await refused(call, -32021)
            assert error.error.data["requiredCapabilities"]
        else:  # the server is refused (client/roots, client/sampling, client/elicitation of 2025-11-25) and says so
            error = await refused(call, -32601, -32602)
            assert "the client refused" in error.error.message
        assert nothing.asked == []
        assert await nothing.text("echo", {"text": "still there"}) == "still there"


@EACH
async def test_a_server_is_told_no_more_than_a_client_declared(place: Place, form: str, mode: str) -> None:
    async with place.client(form, mode, offers=Offers(False, False, True, ())) as peer:
        told = (await peer.json("declared"))["capabilities"]
        assert {key for key, value in told.items() if value is not None} == {"roots"}
        assert (await peer.json("ask_roots"))["roots"][-1] == {"uri": "file:///home/anna-1"}


async def test_another_principals_task_is_unknown(place: Place) -> None:
    async with place.client("new-http", MODERN) as anna, place.client("new-http", MODERN, WHO[2]) as bert:
        made = await anna.raw("tools/call", {"name": "job", "arguments": {"text": "mine"}})
        handle = {"taskId": made["taskId"]}
        named = {"Mcp-Name": made["taskId"]}
        for method in ("tasks/get", "tasks/cancel"):
            await refused(bert.raw(method, handle, headers=named), -32602)
        await refused(bert.raw("tasks/update", {**handle, "inputResponses": {}}, headers=named), -32602)
        assert (await anna.raw("tasks/get", handle, headers=named))["taskId"] == made["taskId"]


async def test_a_client_without_the_tasks_extension_gets_no_task(place: Place) -> None:
    offers = Offers(extensions=())
    async with place.client("new-http", MODERN, offers=offers) as peer:
        error = await refused(peer.raw("tools/call", {"name": "job", "arguments": {}}), -32021)
        assert error.error.data["requiredCapabilities"] == {"extensions": {TASKS: {}}}
