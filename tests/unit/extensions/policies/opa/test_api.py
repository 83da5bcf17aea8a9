"""The way to OPA: its token, sockets and TLS, and what is bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.servers.documented_opa import DocumentedOpa, documented_opa
from tests.unit.extensions.policies.opa.conftest import PATH
from tidegate.domain.errors import SettingsError
from tidegate.extensions.policies.opa import OpaSettings
from tidegate.extensions.policies.opa.api import Trouble, open_api
from tidegate.ports.extension import Surroundings

TOKEN = "token-canary"


def settings(opa: DocumentedOpa, **more: object) -> OpaSettings:
    return OpaSettings.model_validate({"url": opa.address, "path": PATH, **more})


async def test_its_token_goes_along_and_stands_in_no_message(opa: DocumentedOpa, tmp_path: Path) -> None:
    opa.token = TOKEN
    async with open_api(settings(opa, token=TOKEN), Surroundings(tmp_path, "")) as api:
        assert (await api.ask(PATH, {})).value() == {"allow": True}
        opa.token = "another"
        with pytest.raises(Trouble, match="status 401") as caught:
            await api.ask(PATH, {})
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(settings(opa, token=TOKEN))


async def test_it_may_be_behind_a_socket(tmp_path: Path) -> None:
    async with documented_opa(socket=tmp_path / "opa.sock") as opa:
        opa.documents[PATH] = lambda _: True
        async with open_api(settings(opa), Surroundings(tmp_path, "")) as api:
            assert (await api.ask(PATH, {})).value() is True


async def test_no_more_are_under_way_than_settings_say_and_the_wait_counts(
    opa: DocumentedOpa, tmp_path: Path
) -> None:
    async with open_api(settings(opa, at_once=3, timeout=0.2), Surroundings(tmp_path, "")) as api:
        opa.open.clear()
        found = await asyncio.gather(*(api.ask(PATH, {}) for _ in range(12)), return_exceptions=True)
        assert all(isinstance(each, Trouble) for each in found)
        assert opa.most_at_once <= 3


async def test_an_input_that_is_too_large_is_not_sent(opa: DocumentedOpa, tmp_path: Path) -> None:
    async with open_api(settings(opa), Surroundings(tmp_path, "")) as api:
        with pytest.raises(Trouble, match="more than 1048576 bytes"):
            await api.ask(PATH, {"x": "y" * 1_100_000})
    assert opa.asked == []


async def test_odd_names_of_data_stay_one_part_of_a_path(opa: DocumentedOpa, tmp_path: Path) -> None:
    async with open_api(settings(opa), Surroundings(tmp_path, "")) as api:
        await api.data(("a/b", "..", "c d?#"))
    assert len(opa.asked) == 1
    assert opa.asked[0].startswith("GET data/")


async def test_authorities_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    wrong = OpaSettings.model_validate(
        {"url": "https://localhost:1", "path": PATH, "ca": str(tmp_path / "ca.pem")}
    )
    with pytest.raises(SettingsError, match="cannot be used"):
        async with open_api(wrong, Surroundings(tmp_path, "")):
            pass
