"""The matrix: every feature in every direction over every carrier, through one gateway."""

from __future__ import annotations

import asyncio

import pytest

from tests.matrix import document
from tests.matrix.features import BY_ID, FEATURES, columns
from tests.matrix.peer import LEGACY, MODERN, UI_TYPE, Shown, connect, http
from tests.matrix.run import ALL, Run
from tests.matrix.upstreams import FORMS

CELLS = [(feature.id, direction, carrier) for direction, carrier in columns() for feature in FEATURES]
BLANK = {"", "-", "–", "not run", "**fails**"}
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_a_prefixed_endpoint_shows_every_server_and_a_plain_one_its_own_names(
    run: Run, mode: str
) -> None:
    async with connect(http(run.gateway.url(ALL)), mode) as peer:
        names = {each["name"] for each in await peer.pages("tools/list", "tools")}
        assert {f"{form}__echo" for form in FORMS} <= names
        assert not any("__" not in name for name in names)
        for form in FORMS:
            assert await peer.text(f"{form}__echo", {"text": form}) == form
    async with connect(http(run.gateway.url("/old-sse")), mode) as peer:
        names = {each["name"] for each in await peer.pages("tools/list", "tools")}
        assert "echo" in names
        assert not any("__" in name for name in names)


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_a_ui_resource_that_no_list_has_is_read_from_the_server_whose_tool_names_it(
    run: Run, mode: str
) -> None:
    async with connect(http(run.gateway.url(ALL)), mode) as peer:
        for form in FORMS:
            peer.shown = Shown(form)
            uri = (await peer.tool("panel"))["_meta"]["ui"]["resourceUri"]
            contents = (await peer.raw("resources/read", {"uri": uri}))["contents"][0]
            assert (contents["uri"], contents["mimeType"]) == (uri, UI_TYPE)


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_several_servers_ask_and_tell_one_client_at_once(run: Run, mode: str) -> None:
    async with connect(http(run.gateway.url(ALL)), mode) as peer:

        async def ask(form: str) -> None:
            told = await peer.json(f"{form}__ask_form", {"text": form})
            assert told["content"] == {"name": "someone"}

        await asyncio.gather(*(ask(form) for form in FORMS))
        assert sorted(params.message for _, params in peer.asked) == sorted(FORMS)


@pytest.mark.parametrize(("feature", "direction", "carrier"), CELLS, ids=["-".join(each) for each in CELLS])
async def test_a_cell(run: Run, feature: str, direction: str, carrier: str) -> None:
    assert (await run.all())[direction, carrier][feature] == ""


async def test_the_page_is_what_the_run_gave_and_has_no_blank_cell(run: Run) -> None:
    made = document.render(await run.all())
    assert document.written() == made, "run python -m tests.matrix.document"
    rows = [line for line in made.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) == len(BY_ID)
    for row in rows:
        cells = [each.strip() for each in row.strip("|").split(" | ")]
        assert len(cells) == len(columns()) + 1
        assert not BLANK & set(cells), row
