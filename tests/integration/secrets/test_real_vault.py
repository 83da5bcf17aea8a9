"""The Vault source against a core of the real one, built by scripts/vault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tidegate.domain.errors import SecretUnavailable
from tidegate.extensions.secrets.vault import VAULT
from tidegate.extensions.secrets.vault_settings import VaultSettings
from tidegate.ports.extension import Surroundings
from tidegate.testing.secrets_contract import VALUE, Kept, SecretsContract

PROGRAM = Path(__file__).resolve().parents[3] / ".tools" / "vault"
POLICY = 'path "secret/data/*" {capabilities=["read"]}\npath "old/*" {capabilities=["read"]}'

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="no Vault was built (scripts/vault does)")


@dataclass
class Real:
    """One that runs, unsealed."""

    address: str
    session: aiohttp.ClientSession
    token: str = ""

    async def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        headers = {"X-Vault-Token": self.token} if self.token else {}
        url = f"{self.address}/v1/{path}"
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status < 300, f"{method} {path}: {answer.status} {text}"
            return await answer.json() if text else {}

    async def put(self, path: str, value: str) -> None:
        await self.ask("POST", path.replace("secret/", "secret/data/"), {"data": {"key": value}})

    async def lives(self, accessor: str) -> bool:
        headers = {"X-Vault-Token": self.token}
        url = f"{self.address}/v1/auth/token/lookup-accessor"
        async with self.session.post(url, json={"accessor": accessor}, headers=headers) as answer:
            return answer.status == 200


@pytest.fixture
async def real() -> AsyncIterator[Real]:
    process = await asyncio.create_subprocess_exec(PROGRAM, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            assert process.stdout is not None
            vault = Real((await process.stdout.readline()).decode().strip(), session)
            made = await vault.ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            await vault.ask("PUT", "sys/unseal", {"key": made["keys"][0]})
            vault.token = made["root_token"]
            await vault.ask("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
            await vault.ask("POST", "sys/mounts/old", {"type": "kv"})
            await vault.ask("POST", "old/app", {"key": "first version"})
            await upgraded(vault, "secret/app/web", VALUE)
            yield vault
    finally:
        process.kill()
        await process.wait()


async def upgraded(vault: Real, path: str, value: str) -> None:
    """Put a value once the engine has become one of version 2, which it does in its own time."""
    while True:
        try:
            return await vault.put(path, value)
        except AssertionError:
            await asyncio.sleep(0.05)  # the fixture's deadline ends it


class TestRealVault(SecretsContract):
    @pytest.fixture
    async def kept(self, real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
        monkeypatch.setenv("VAULT_TOKEN", real.token)

        async def change(value: str) -> None:
            await real.put("secret/app/web", value)

        async with VAULT.open(VaultSettings(address=real.address), Surroundings(tmp_path, "")) as source:
            yield Kept(source, "secret/app/web#key", "secret/app/web#none", change)

    @pytest.mark.parametrize("name", ["", "secret/../sys/raw#key"])
    async def test_an_odd_name_is_refused_and_does_nothing_else(self, kept: Kept, name: str) -> None:
        """The others are refused before anything is sent, which the tests' own server shows."""
        await super().test_an_odd_name_is_refused_and_does_nothing_else(kept, name)


async def test_a_role_reads_both_versions_within_its_policy_and_its_token_is_gone_afterwards(
    real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await real.ask("PUT", "sys/policies/acl/reads", {"policy": POLICY})
    await real.ask("POST", "sys/auth/approle", {"type": "approle"})
    await real.ask("POST", "auth/approle/role/gateway", {"token_policies": "reads", "token_ttl": "20m"})
    role = (await real.ask("GET", "auth/approle/role/gateway/role-id"))["data"]["role_id"]
    secret_id = (await real.ask("POST", "auth/approle/role/gateway/secret-id", {}))["data"]["secret_id"]
    before = (await real.ask("LIST", "auth/token/accessors"))["data"]["keys"]
    monkeypatch.setenv("VAULT_SECRET_ID", secret_id)
    settings = VaultSettings.model_validate({"address": real.address, "approle": {"role_id": role}})
    async with VAULT.open(settings, Surroundings(tmp_path, "")) as source:
        assert (await source.get("secret/app/web#key")).reveal() == VALUE
        assert (await source.get("old/app#key")).reveal() == "first version"
        with pytest.raises(SecretUnavailable, match="status 403"):
            await source.get("sys/raw#key")
        during = (await real.ask("LIST", "auth/token/accessors"))["data"]["keys"]
        mine = [each for each in set(during) - set(before) if await real.lives(each)]
        assert (
            len(mine) == 1
        )  # a refusal may mean that the token has ended: that one was given back for another
    assert not await real.lives(mine[0])
