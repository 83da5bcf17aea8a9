"""The table of extensions: what is built in resolves, third parties are found, and mistakes are said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tidegate.domain.errors import SettingsError
from tidegate.extensions import table
from tidegate.ports.extension import Extension

BUILT_IN = [(kind, name) for kind, names in table.TABLE.items() for name in names]

MODULE = """
from contextlib import asynccontextmanager
from pydantic import BaseModel
from tidegate.ports.extension import Extension

class Settings(BaseModel):
    region: str = "eu"

@asynccontextmanager
async def open_it(settings, surroundings):
    yield object()

GOOD = Extension(Settings, open_it)
NONE = "no extension"
UNMODELLED = Extension(dict, open_it)
"""
ENTRY_POINTS = """
[tidegate.runtimes]
nomad = third_party_nomad:GOOD
docker = third_party_nomad:GOOD
broken = third_party_missing:GOOD
absent = third_party_nomad:ABSENT
none = third_party_nomad:NONE
unmodelled = third_party_nomad:UNMODELLED
"""


NEEDED = {
    ("policies", "cedar"): {"files": ["a.cedar"]},
    ("policies", "opa"): {"url": "http://127.0.0.1:8181", "path": "tidegate/authz"},
}
"""Settings that cannot be absent."""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution of somebody else."""
    (tmp_path / "third_party_nomad.py").write_text(MODULE)
    info = tmp_path / "third_party_nomad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party-nomad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "third_party_nomad", raising=False)


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_what_is_built_in_is_there_with_its_settings(kind: str, name: str) -> None:
    assert isinstance(table.resolve(kind, name), Extension)
    table.settings_model(kind, name).model_validate(NEEDED.get((kind, name), {}))


@pytest.mark.usefixtures("third_party")
def test_an_extension_of_somebody_else_is_found_by_its_entry_point() -> None:
    assert list(table.names("runtimes"))[:2] == ["docker", "process"]
    assert "nomad" in table.names("runtimes")
    assert table.settings_model("runtimes", "nomad").model_validate({}).model_dump() == {"region": "eu"}


@pytest.mark.usefixtures("third_party")
def test_what_is_built_in_cannot_be_taken_over() -> None:
    assert "region" not in table.settings_model("runtimes", "docker").model_fields


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nope", "there is no extension nope of the kind runtimes (known: docker, process, absent, broken, "),
        ("broken", "the extension broken of the kind runtimes cannot be loaded: No module named"),
        ("absent", "the extension absent of the kind runtimes cannot be loaded: "),
        ("none", "third_party_nomad:NONE, given as the extension none of the kind runtimes, is none"),
        ("unmodelled", "the settings of the extension unmodelled of the kind runtimes are no pydantic model"),
    ],
)
def test_an_extension_that_is_none_is_said_to_be(name: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        table.settings_model("runtimes", name)
    assert said in str(caught.value)
