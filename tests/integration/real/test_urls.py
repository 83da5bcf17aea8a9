"""A published server that runs elsewhere: over Streamable HTTP and over the older HTTP+SSE, by its URL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.integration.gateway.gateway import Gateway
from tests.integration.real.asked import (
    CLIENTS,
    EVERYTHING,
    LONG,
    check_answers,
    check_cancellation,
    check_progress,
)
from tests.integration.real.standing import everything_listening, standing

pytestmark = [pytest.mark.node, pytest.mark.network, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in front of `server-everything` over both transports; an endpoint for each."""
    with everything_listening("streamableHttp") as http, everything_listening("sse") as sse:
        settings = {
            "servers": {"everything": {"url": http}, "older": {"url": sse, "transport": "sse"}},
        }
        with standing(tmp_path_factory.mktemp("urls"), settings) as gateway:
            yield gateway


@pytest.mark.parametrize(("language", "mode"), CLIENTS)
@pytest.mark.parametrize("name", ["everything", "older"])
async def test_every_client_gets_what_the_server_says_and_its_progress_and_can_cancel(
    elsewhere: Gateway, name: str, language: str, mode: str
) -> None:
    asked = [replace(each, tool=each.tool.replace("everything", name)) for each in EVERYTHING]
    await check_answers(elsewhere, language, mode, asked)
    await check_progress(elsewhere, language, mode, LONG.replace("everything", name))
    await check_cancellation(elsewhere, language, mode, LONG.replace("everything", name))
