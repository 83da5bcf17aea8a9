"""The published JSON Schema and the generated pages say what the models say."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.settings.given import FewExtensions, read
from tests.unit.settings.test_parse import WHOLE
from tidegate.domain.errors import SettingsError
from tidegate.extensions import table
from tidegate.settings import load
from tidegate.settings.schema import json_schema


def validator() -> Any:
    schema = json_schema(FewWorking())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


class FewWorking(FewExtensions):
    def names(self, kind: str) -> list[str]:
        return [name for name in super().names(kind) if name != "broken"]


def test_the_schema_takes_what_the_gateway_takes() -> None:
    document = yaml.safe_load(WHOLE)
    # Keys without a value, which the gateway takes as their default, are no part of JSON's world.
    document["endpoints"]["/mcp"] = {}
    document["runtimes"]["process"] = {}
    assert [error.message for error in validator().iter_errors(document)] == []
    read(WHOLE, KEY="k")


@pytest.mark.parametrize(
    "document",
    [
        {"lisen": 1},
        {"servers": {"a": {"image": "x", "command": ["y"]}}},
        {"servers": {"a": {"args": ["x"]}}},
        {"servers": {"A": {"image": "x"}}},
        {"servers": {"a": {"image": "x", "limits": {"memory": "lots"}}}},
        {"servers": {"a": {"url": "http://h", "mounts": []}}},
        {"endpoints": {"mcp": {}}},
        {"endpoints": {}},
        {"endpoints": {"/mcp": {"rules": [{}]}}},
        {"endpoints": {"/mcp": {"rules": [{"allow": {}, "deny": {}}]}}},
        {"runtimes": {"docker": {"socket": 3}}},
        {"runtimes": {"dockr": {}}},
        {"version": 2},
    ],
)
def test_the_schema_refuses_what_the_gateway_refuses(document: dict[str, Any]) -> None:
    assert list(validator().iter_errors(document))
    with pytest.raises(SettingsError):
        read(yaml.safe_dump(document))


def test_every_setting_is_described() -> None:
    schema = json_schema(FewWorking())
    places = [("", schema), *schema["$defs"].items()]
    bare = [
        f"{name}.{key}"
        for name, place in places
        if not name.startswith("runtime-")
        for key, about in place.get("properties", {}).items()
        if not about.get("description")
        and not schema["$defs"].get(about.get("$ref", "")[8:], {}).get("description")
    ]
    assert bare == []


def test_the_generated_pages_are_current(root: Path) -> None:
    ran = subprocess.run([root / "scripts" / "docs", "--check"], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


def shipped() -> list[Path]:
    root = Path(__file__).resolve().parents[3]
    files = [path for place in ("docs", "examples", "deploy") for path in (root / place).rglob("*.yaml")]
    return [path for path in files if "servers" in (yaml.safe_load(path.read_text("utf-8")) or {})]


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.name)
def test_every_settings_file_that_is_shipped_loads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(path, table).servers
