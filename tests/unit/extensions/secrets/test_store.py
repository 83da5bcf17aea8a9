"""The encrypted store: what stands on the disk, whose key opens it, and what becomes of tampering."""

from __future__ import annotations

import base64
import json
import os
import resource
import stat
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tidegate.domain.errors import SecretUnavailable
from tidegate.extensions.secrets.store import StoreSettings, store_in
from tidegate.extensions.secrets.store_key import draw_key, encode_key

CANARY = "hunter2-canary"


def on_disk(state: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file())


def key_file(path: Path, key: bytes | None = None) -> Path:
    path.write_bytes(encode_key(key or draw_key()))
    path.chmod(0o600)
    return path


@contextmanager
def largest_file(size: int) -> Generator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_names_are_readable_and_values_are_not_and_nobody_else_may_read_either(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.set("app/token", CANARY)
    assert b"app/token" in on_disk(tmp_path)
    assert CANARY.encode() not in on_disk(tmp_path)
    assert base64.b64encode(CANARY.encode())[:8] not in on_disk(tmp_path)
    place = tmp_path / "secrets"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}


def test_equal_values_look_different_and_versions_count(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.set("a", CANARY)
    store.set("b", CANARY)
    store.set("a", CANARY)
    sealed = [entry.sealed for entry in store.entries()]
    assert len(set(sealed)) == 2
    assert [(entry.name, entry.version) for entry in store.entries()] == [("a", 2), ("b", 1)]


def test_a_value_that_was_moved_changed_or_put_back_under_another_version_does_not_open(
    tmp_path: Path,
) -> None:
    store, file = store_in(tmp_path), tmp_path / "secrets" / "store.json"
    store.set("mine", CANARY)
    store.set("yours", "other")
    good = json.loads(file.read_text())

    def tampered(change: dict[str, object]) -> None:
        told = json.loads(json.dumps(good))
        told["secrets"]["mine"] |= change
        file.write_text(json.dumps(told))
        with pytest.raises(SecretUnavailable, match="the secret mine was changed from outside") as caught:
            store.get("mine")
        assert CANARY not in str(caught.value)

    tampered({"sealed": good["secrets"]["yours"]["sealed"]})
    tampered({"version": 2})
    tampered({"sealed": "AAAA" + good["secrets"]["mine"]["sealed"][4:]})
    tampered({"sealed": ""})
    tampered({"sealed": "no base64!"})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "key": "x", "secrets": {"a": 1}}', "\xff"]
)
def test_a_damaged_file_is_said_and_left_alone(tmp_path: Path, text: str) -> None:
    store, file = store_in(tmp_path), tmp_path / "secrets" / "store.json"
    store.set("a", CANARY)
    file.write_text(text)
    for attempt in (lambda: store.get("a"), lambda: store.set("a", "x"), store.entries):
        with pytest.raises(SecretUnavailable, match="is damaged, or of a later version"):
            attempt()
    assert file.read_text() == text


def test_only_the_key_that_sealed_it_opens_it(tmp_path: Path) -> None:
    first, second = key_file(tmp_path / "first"), key_file(tmp_path / "second")
    store_in(tmp_path, StoreSettings(key_file=str(first))).set("a", CANARY)
    for key in (StoreSettings(key_file=str(second)), None):
        with pytest.raises(
            SecretUnavailable, match=r"sealed with another key|the key of the secret store is missing"
        ):
            store_in(tmp_path, key).get("a")
    assert store_in(tmp_path, StoreSettings(key_file=str(first))).get("a") == CANARY
    assert not (tmp_path / "secrets" / "key").exists()


def test_the_key_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_SECRET_KEY", encode_key(draw_key()).decode())
    store_in(tmp_path).set("a", CANARY)
    assert store_in(tmp_path).get("a") == CANARY
    monkeypatch.setenv("TIDEGATE_SECRET_KEY", "hunter2")
    with pytest.raises(SecretUnavailable, match="TIDEGATE_SECRET_KEY holds no key") as caught:
        store_in(tmp_path).get("a")
    assert "hunter2" not in str(caught.value)


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    key = key_file(tmp_path / "key")
    key.chmod(0o640)
    with pytest.raises(SecretUnavailable, match="can be read by others: chmod 600"):
        store_in(tmp_path, StoreSettings(key_file=str(key))).set("a", CANARY)


def test_another_key_seals_everything_anew_and_the_old_one_opens_nothing(tmp_path: Path) -> None:
    store, key = store_in(tmp_path), tmp_path / "secrets" / "key"
    for number in range(3):
        store.set(f"s{number}", f"{CANARY}-{number}")
    old, before = key.read_bytes(), store.entries()
    assert store.rotate() == 3
    assert key.read_bytes() != old
    assert [store.get(f"s{number}") for number in range(3)] == [f"{CANARY}-{number}" for number in range(3)]
    assert [(e.name, e.version, e.changed) for e in store.entries()] == [
        (e.name, e.version, e.changed) for e in before
    ]
    key.write_bytes(old)
    with pytest.raises(SecretUnavailable, match="sealed with another key"):
        store.get("s0")


@pytest.mark.parametrize("sealed_anew", [False, True])
def test_a_change_of_keys_that_was_broken_off_loses_nothing(tmp_path: Path, sealed_anew: bool) -> None:
    store, place = store_in(tmp_path), tmp_path / "secrets"
    store.set("a", CANARY)
    old_key, old_store = (place / "key").read_bytes(), (place / "store.json").read_bytes()
    store.rotate()
    # As it is where it broke off before the new key took the old one's place.
    os.rename(place / "key", place / "key.next")
    (place / "key").write_bytes(old_key)
    (place / "key").chmod(0o600)
    if not sealed_anew:
        (place / "store.json").write_bytes(old_store)
    assert store.get("a") == CANARY
    store.set("b", "more")
    store.rotate()
    assert (store.get("a"), store.get("b")) == (CANARY, "more")


def test_a_second_change_of_keys_that_breaks_off_too_loses_nothing(tmp_path: Path) -> None:
    store, place = store_in(tmp_path), tmp_path / "secrets"
    store.set("a", CANARY)
    old_key = (place / "key").read_bytes()
    store.rotate()
    # As it is where the first broke off before the new key took the old one's place.
    os.rename(place / "key", place / "key.next")
    (place / "key").write_bytes(old_key)
    (place / "key").chmod(0o600)
    # The second one's key has room on the disk, and what is sealed with it has not.
    with largest_file(100), pytest.raises(SecretUnavailable, match="cannot be changed"):
        store.rotate()
    assert store.get("a") == CANARY


def test_a_key_that_is_kept_outside_is_changed_only_for_one_that_is_given(tmp_path: Path) -> None:
    key, fresh = key_file(tmp_path / "key"), draw_key()
    store = store_in(tmp_path, StoreSettings(key_file=str(key)))
    store.set("a", CANARY)
    with pytest.raises(SecretUnavailable, match="give the new one in a file"):
        store.rotate()
    store.rotate(fresh)
    key_file(key, fresh)
    assert store.get("a") == CANARY


@pytest.mark.parametrize("name", ["", "-a", "a b", "../a\n", "ü", "x" * 128, "$(id)"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SecretUnavailable, match="a secret's name is"):
        store_in(tmp_path).set(name, CANARY)


@pytest.mark.parametrize("value", ["", "a\0b", "x" * 65537])
def test_a_value_that_can_be_none_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(SecretUnavailable):
        store_in(tmp_path).set("a", value)
    assert store_in(tmp_path).entries() == []


def test_of_writers_at_one_time_none_loses_what_another_wrote(tmp_path: Path) -> None:
    store_in(tmp_path).set("first", "x")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store_in(tmp_path).set(f"s{number}", str(number)), range(24)))
    store = store_in(tmp_path)
    assert [store.get(f"s{number}") for number in range(24)] == [str(number) for number in range(24)]


def test_what_is_removed_is_gone_and_may_be_set_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.set("a", CANARY)
    assert store.remove("a")
    assert not store.remove("a")
    assert store.get("a") is None
    assert store.set("a", "again").version == 1
