"""The built-in sources pass the contract of `ports.secrets`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.servers.documented_vault import documented_vault
from tests.unit.extensions.secrets.programs import credential_program
from tidegate.extensions.secrets.compose import ComposeSecrets
from tidegate.extensions.secrets.environment import EnvironmentSecrets
from tidegate.extensions.secrets.files import FileSecrets
from tidegate.extensions.secrets.helper import HelperSecrets, HelperSettings
from tidegate.extensions.secrets.store import StoreSecrets, store_in
from tidegate.extensions.secrets.vault import VAULT
from tidegate.extensions.secrets.vault_settings import VaultSettings
from tidegate.ports.extension import Surroundings
from tidegate.testing.secrets_contract import VALUE, Kept, SecretsContract


class TestEnvironment(SecretsContract):
    @pytest.fixture
    async def kept(self) -> Kept:
        return Kept(EnvironmentSecrets({"TOKEN": VALUE}), "TOKEN", "NONE", None)


class TestFiles(SecretsContract):
    @pytest.fixture
    async def kept(self, tmp_path: Path) -> Kept:
        (tmp_path / "base").mkdir()
        file = tmp_path / "base" / "token"
        file.write_text(VALUE + "\n")

        async def change(value: str) -> None:
            file.write_text(value)

        return Kept(FileSecrets(tmp_path / "base"), "token", "none", change)

    @pytest.mark.parametrize("name", ["", ".", "/", "a\0b", "x" * 5000])
    async def test_an_odd_name_is_refused_and_does_nothing_else(self, kept: Kept, name: str) -> None:
        """Any other text is a path, and whoever writes the settings may name any file."""
        await super().test_an_odd_name_is_refused_and_does_nothing_else(kept, name)


class TestCompose(SecretsContract):
    @pytest.fixture
    async def kept(self, tmp_path: Path) -> Kept:
        (tmp_path / "token").write_text(VALUE + "\n")

        async def change(value: str) -> None:
            fresh = tmp_path / ".fresh"
            fresh.write_text(value)
            os.replace(fresh, tmp_path / "token")

        return Kept(ComposeSecrets(tmp_path), "token", "none", change)


class TestHelper(SecretsContract):
    @pytest.fixture
    async def kept(self, tmp_path: Path) -> Kept:
        answer = credential_program(tmp_path, "keeper")

        async def change(value: str) -> None:
            answer(value)

        answer(VALUE)
        source = HelperSecrets(HelperSettings(directory=str(tmp_path)))
        return Kept(source, "keeper/https://kept.example.com", "keeper/https://none.example.com", change)


class TestVault(SecretsContract):
    @pytest.fixture
    async def kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
        async with documented_vault() as vault:
            vault.kept["secret/app/web"] = {"key": VALUE}

            async def change(value: str) -> None:
                vault.kept["secret/app/web"] = {"key": value}

            monkeypatch.setenv("VAULT_TOKEN", vault.token())
            async with VAULT.open(VaultSettings(address=vault.address), Surroundings(tmp_path, "")) as source:
                yield Kept(source, "secret/app/web#key", "secret/app/web#none", change)


class TestStore(SecretsContract):
    @pytest.fixture
    async def kept(self, tmp_path: Path) -> Kept:
        file = store_in(tmp_path)
        file.set("app/token", VALUE)

        async def change(value: str) -> None:
            file.set("app/token", value)

        return Kept(StoreSecrets(file), "app/token", "app/none", change)
