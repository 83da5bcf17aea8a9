"""What can be a secret, and what is said of what cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.domain.errors import SettingsError
from tidegate.extensions import table
from tidegate.secret_text import MAX_SECRET, checked
from tidegate.settings import load


@pytest.mark.parametrize(
    "value", ["hunter2\ud800", "\udcffhunter2", "hunter2\0", "x" * (MAX_SECRET + 1), "ü" * MAX_SECRET]
)
def test_what_can_stand_nowhere_is_refused_without_being_said(value: str) -> None:
    with pytest.raises(ValueError, match=r"the token (is not text|holds a NUL|is larger)") as caught:
        checked(value, "the token")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert not isinstance(caught.value, UnicodeError)  # which would hold the value
    assert "hunter2" not in str(caught.value)


def test_the_largest_secret_is_one() -> None:
    value = "x" * MAX_SECRET
    assert checked(value, "the token") == value


def test_a_variable_that_is_no_text_is_a_mistake_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODD", "hunter2\udcff")
    path = tmp_path / "tidegate.yaml"
    path.write_text("servers: {a: {image: 'a:1', env: {TOKEN: '${env:ODD}'}}}\n")
    with pytest.raises(SettingsError, match="the environment variable ODD is not text") as caught:
        load(path, table)
    assert "hunter2" not in str(caught.value)
