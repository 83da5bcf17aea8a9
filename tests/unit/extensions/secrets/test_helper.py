"""Credential helpers: what a program may do to the gateway is nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.unit.extensions.secrets.programs import credential_program
from tidegate.domain.errors import SecretUnavailable
from tidegate.extensions.secrets.helper import HelperSecrets, HelperSettings


def source(place: Path, **settings: object) -> HelperSecrets:
    credential_program(place, "keeper")("hunter2")
    return HelperSecrets(HelperSettings.model_validate({"directory": str(place), **settings}))


async def test_the_name_of_the_user_is_given_where_it_is_asked_for(tmp_path: Path) -> None:
    keeper = source(tmp_path)
    assert (await keeper.get("keeper/https://kept.example.com#username")).reveal() == "gateway"
    assert (await keeper.get("keeper/https://kept.example.com#secret")).reveal() == "hunter2"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("keeper/https://nothing.example.com", "docker-credential-keeper has nothing for https://nothing"),
        ("keeper/https://garbage.example.com", "docker-credential-keeper gave what is not JSON"),
        ("keeper/https://large.example.com", "the answer is larger than 131072 bytes"),
        ("keeper/https://failing.example.com", "docker-credential-keeper ended with status 3"),
        ("other/https://kept.example.com", "there is no program docker-credential-other"),
        ("../keeper/https://kept.example.com", "should be PROGRAM/URL"),
    ],
)
async def test_what_goes_wrong_is_said_without_the_words_of_the_program(
    tmp_path: Path, name: str, said: str
) -> None:
    with pytest.raises(SecretUnavailable, match=said) as caught:
        await source(tmp_path).get(name)
    assert "hunter2" not in str(caught.value)


async def test_a_program_that_does_not_answer_is_ended_at_its_deadline(tmp_path: Path) -> None:
    before = time.monotonic()
    with pytest.raises(SecretUnavailable, match=r"did not answer within 0\.2 s"):
        await source(tmp_path, timeout=0.2).get("keeper/https://slow.example.com")
    assert time.monotonic() - before < 30


async def test_a_program_gets_none_of_the_gateways_variables_but_those_that_find_a_keychain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hunter2")
    monkeypatch.setenv("KEYCHAIN_PLACE", "here")
    monkeypatch.setenv("GNUPGHOME", "there")
    found = await source(tmp_path, variables=["KEYCHAIN_PLACE"]).get("keeper/https://variables.example.com")
    names = found.reveal().split()
    assert {"GNUPGHOME", "KEYCHAIN_PLACE", "PATH"} <= set(names)
    assert "VAULT_TOKEN" not in names
