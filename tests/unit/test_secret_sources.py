"""Secrets looked up for the settings, and watched: over the built-in places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tidegate.domain.errors import SecretUnavailable
from tidegate.domain.server import Secret
from tidegate.extensions.secrets.compose import ComposeSettings
from tidegate.extensions.secrets.store import StoreSettings, store_in
from tidegate.extensions.secrets.vault_settings import VaultSettings
from tidegate.ports.extension import Surroundings
from tidegate.secret_sources import SecretWatch, look_up
from tidegate.settings import SecretsKept
from tidegate.settings.references import Reference

FILE, STORED, DOCKER = Reference("file", "token"), Reference("secret", "app"), Reference("docker", "db")


async def test_secrets_of_several_places_are_looked_up_where_a_loop_runs(tmp_path: Path) -> None:
    store_in(tmp_path).set("app", "stored")
    (tmp_path / "db").write_text("mounted\n")
    models = {"docker": ComposeSettings(directory=str(tmp_path))}
    found = look_up([STORED, DOCKER], models, tmp_path)
    assert found == {STORED: Secret("stored"), DOCKER: Secret("mounted")}


def test_each_place_that_fails_says_why_and_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    store_in(tmp_path).set("app", "stored")
    vault, unknown = Reference("vault", "a/b#c"), Reference("nowhere", "x")
    found = look_up(
        [vault, STORED, unknown, Reference("secret", "none")], {"vault": VaultSettings()}, tmp_path
    )
    said = {str(each): str(why) for each, why in found.items() if isinstance(why, SecretUnavailable)}
    assert found[STORED] == Secret("stored")
    assert "no address is set" in said["vault:a/b#c"]
    assert "there is no extension nowhere" in said["nowhere:x"]
    assert "there is no secret none" in said["secret:none"]


class Watched:
    """A watch over a file and the store, and what it told."""

    def __init__(self, place: Path) -> None:
        store_in(place).set("app", "first")
        (place / "token").write_text("one\n")
        values = {FILE: Secret("one"), STORED: Secret("first"), Reference("env", "GONE"): Secret("x")}
        self.kept = SecretsKept(place, 60.0, {"secret": StoreSettings()}, values)
        self.told: list[Sequence[str]] = []
        self.watch = SecretWatch(lambda: self.kept, Surroundings(place, ""), self._changed)

    async def _changed(self, names: Sequence[str]) -> None:
        self.told.append(names)


async def test_nothing_is_told_while_nothing_changes(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert await watched.watch.look() == []
    assert watched.told == []


async def test_what_has_another_value_is_told_by_name(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    store_in(tmp_path).set("app", "first")  # again, and the same
    assert await watched.watch.look() == []
    (tmp_path / "token").write_text("two\n")
    store_in(tmp_path).set("app", "second")
    await watched.watch.look()
    assert watched.told == [["file:token", "secret:app"]]


async def test_what_cannot_be_had_now_has_not_changed(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    (tmp_path / "token").unlink()
    store_in(tmp_path).remove("app")
    assert await watched.watch.look() == []


async def test_after_a_reload_the_new_values_are_what_is_compared_with(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    (tmp_path / "token").write_text("two\n")
    assert await watched.watch.look() == ["file:token"]
    watched.kept = replace(watched.kept, values={**watched.kept.values, FILE: Secret("two")})
    assert await watched.watch.look() == []
