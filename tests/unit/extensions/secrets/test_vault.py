"""Vault: paths, tokens and mistakes, against a server that answers as the documented API does."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from pydantic import ValidationError

from tests.servers.documented_vault import ROLE, SECRET_ID, DocumentedVault, documented_vault
from tidegate.domain.errors import SecretUnavailable
from tidegate.extensions.secrets.vault import VAULT
from tidegate.extensions.secrets.vault_api import open_api
from tidegate.extensions.secrets.vault_settings import VaultSettings
from tidegate.extensions.secrets.vault_token import Tokens
from tidegate.ports.extension import Surroundings
from tidegate.testing.clock import VirtualClock

AROUND = Surroundings(Path("/nowhere"), "")


@pytest.fixture
async def vault(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DocumentedVault]:
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    async with documented_vault() as served:
        served.kept = {
            "secret/app/web": {"key": "two", "port": 5432, "empty": None},
            "old/app": {"key": "one"},
            "deep/er/app": {"key": "deep"},
        }
        monkeypatch.setenv("VAULT_TOKEN", served.token())
        yield served


def settings(vault: DocumentedVault, **more: Any) -> VaultSettings:
    return VaultSettings.model_validate({"address": vault.address, **more})


async def read(vault: DocumentedVault, name: str, **more: Any) -> str:
    async with VAULT.open(settings(vault, **more), AROUND) as source:
        return (await source.get(name)).reveal()


@pytest.mark.parametrize(
    ("name", "value"), [("secret/app/web#key", "two"), ("old/app#key", "one"), ("deep/er/app#key", "deep")]
)
async def test_each_version_of_the_engine_is_read_as_the_server_says(
    vault: DocumentedVault, name: str, value: str
) -> None:
    assert await read(vault, name) == value


async def test_a_mount_is_asked_about_once_and_with_a_set_version_never(vault: DocumentedVault) -> None:
    async with VAULT.open(settings(vault), AROUND) as source:
        await source.get("secret/app/web#key")
        await source.get("secret/app/web#key")
    assert len([each for each in vault.asked if "sys/internal" in each]) == 1
    vault.asked.clear()
    assert await read(vault, "secret/app/web#key", kv=2) == "two"
    assert await read(vault, "old/app#key", kv=1) == "one"
    assert not [each for each in vault.asked if "sys/internal" in each]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("secret/none#key", "there is nothing at secret/none"),
        ("secret/app/web#none", "secret/app/web has no field none"),
        ("secret/app/web#empty", "secret/app/web has no field empty"),
        ("secret/app/web#port", "the field port of secret/app/web is no text"),
        ("none/app#key", r"none/app: status 403 \(permission denied; preflight"),
        ("secret/app/web", "should be path#field"),
        ("secret#key", "should be path#field"),
        ("secret/../sys/raw#key", "should be path#field"),
    ],
)
async def test_what_is_not_there_is_said(vault: DocumentedVault, name: str, said: str) -> None:
    with pytest.raises(SecretUnavailable, match=said):
        await read(vault, name)


async def test_a_namespace_is_sent_with_everything(vault: DocumentedVault) -> None:
    vault.namespace = "harbour/east"
    assert await read(vault, "secret/app/web#key", namespace="harbour/east/") == "two"
    with pytest.raises(SecretUnavailable, match="permission denied"):
        await read(vault, "secret/app/web#key")


async def test_a_login_by_approle_is_made_once_and_its_token_given_back(
    vault: DocumentedVault, tmp_path: Path
) -> None:
    (tmp_path / "secret-id").write_text(SECRET_ID + "\n")
    approle = {"role_id": ROLE, "secret_id_file": tmp_path / "secret-id"}
    async with VAULT.open(settings(vault, approle=approle), AROUND) as source:
        await source.get("secret/app/web#key")
        await source.get("old/app#key")
        assert vault.revoked == []
    assert vault.asked.count("POST auth/approle/login") == 1
    assert len(vault.revoked) == 1


async def test_a_login_that_is_refused_says_so_without_the_secret_id(
    vault: DocumentedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_SECRET_ID", "hunter2-canary")
    with pytest.raises(SecretUnavailable, match="the login by AppRole failed: status 400") as caught:
        await read(vault, "secret/app/web#key", approle={"role_id": ROLE})
    assert "hunter2" not in str(caught.value)


async def test_a_token_that_an_agent_replaced_is_read_again(vault: DocumentedVault, tmp_path: Path) -> None:
    sink = tmp_path / "sink"
    sink.write_text(vault.token())
    async with VAULT.open(settings(vault, token_file=sink), AROUND) as source:
        await source.get("secret/app/web#key")
        vault.tokens.clear()
        sink.write_text(vault.token() + "\n")
        assert (await source.get("secret/app/web#key")).reveal() == "two"


async def test_a_token_is_renewed_after_half_its_lease(
    vault: DocumentedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, clock = vault.token(ttl=100, renewable=True), VirtualClock()
    monkeypatch.setenv("VAULT_TOKEN", token)
    async with open_api(settings(vault), AROUND) as api:
        tokens = Tokens(api, settings(vault), clock)
        assert await tokens.have() == token
        clock.advance(49)
        await tokens.have()
        assert vault.tokens[token]["renewed"] == 0
        clock.advance(2)
        await tokens.have()
        assert vault.tokens[token]["renewed"] == 1


@pytest.mark.parametrize("token", ["", "a\nb", "ü"])
async def test_a_token_that_can_be_none_is_not_sent_and_not_shown(
    vault: DocumentedVault, tmp_path: Path, token: str
) -> None:
    (tmp_path / "token").write_text(token)
    with pytest.raises(SecretUnavailable, match="holds what no token does") as caught:
        await read(vault, "secret/app/web#key", token_file=tmp_path / "token")
    assert vault.asked == []
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"status": 503, "text": '{"errors": ["Vault is sealed"]}'},
            r"status 503 \(sealed, or not yet ready; Vault is sealed\)",
        ),
        ({"status": 307, "headers": {"Location": "http://127.0.0.1:1/"}}, "the server sends elsewhere"),
        ({"status": 200, "text": "<html>"}, "an answer is not JSON"),
        ({"status": 200, "body": b"x" * (1024 * 1024 + 1)}, "an answer is larger than 1048576 bytes"),
        ({"status": 500, "text": "hunter2"}, "status 500$"),
    ],
)
async def test_an_answer_of_another_kind_is_said(
    vault: DocumentedVault, answer: dict[str, Any], said: str
) -> None:
    vault.answer = lambda: web.Response(**answer)
    with pytest.raises(SecretUnavailable, match=said):
        await read(vault, "secret/app/web#key")


async def test_a_server_that_is_not_there_is_said(vault: DocumentedVault) -> None:
    async with documented_vault() as gone:
        address = gone.address
    with pytest.raises(SecretUnavailable, match="cannot be reached"):
        async with VAULT.open(VaultSettings(address=address), AROUND) as source:
            await source.get("secret/app/web#key")


async def test_only_a_server_whose_authority_is_trusted_is_told_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    async with documented_vault(tls) as vault:
        vault.kept["secret/app/web"] = {"key": "over TLS"}
        monkeypatch.setenv("VAULT_TOKEN", vault.token())
        with pytest.raises(SecretUnavailable):
            await read(vault, "secret/app/web#key")
        assert vault.asked == []
        assert await read(vault, "secret/app/web#key", ca=tmp_path / "ca.pem") == "over TLS"


@pytest.mark.parametrize(
    "address", ["http://vault.example.com:8200", "https://u:p@h", "https://h/v1", "ftp://h", ""]
)
def test_an_address_that_would_give_secrets_away_or_is_none_is_a_mistake(address: str) -> None:
    with pytest.raises(ValidationError):
        VaultSettings(address=address)


async def test_the_address_may_come_from_the_environment(
    vault: DocumentedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SecretUnavailable, match="no address is set"):
        async with VAULT.open(VaultSettings(), AROUND):
            pass
    monkeypatch.setenv("VAULT_ADDR", vault.address)
    async with VAULT.open(VaultSettings(), AROUND) as source:
        assert (await source.get("secret/app/web#key")).reveal() == "two"
