"""The JSON Schema of the settings file, for editors: made from the models."""

from __future__ import annotations

from typing import Any, cast

from tidegate.settings.load import Extensions
from tidegate.settings.models import FileModel
from tidegate.settings.servers import SERVER_NAME

IDENTIFIER = "urn:tidegate:settings:1"


def json_schema(extensions: Extensions) -> dict[str, Any]:
    """Give the schema (2020-12), with the settings of the extensions that are there.

    Raises:
        SettingsError: an extension's settings cannot be had.
    """
    schema = FileModel.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    properties: dict[str, Any] = schema["properties"]
    about = properties["runtimes"].get("description", "")
    properties["runtimes"] = _sections("runtimes", about, extensions, definitions)
    shared = definitions.pop("SecretsModel")
    kinds = _sections("secrets", shared["description"], extensions, definitions)
    properties["secrets"] = {**kinds, "properties": {**shared["properties"], **kinds["properties"]}}
    properties["policies"] = _choices("policies", properties["policies"], extensions, definitions)
    properties["endpoints"]["default"] = {"/mcp": {}}
    properties["endpoints"]["minProperties"] = properties["endpoints"].pop("minLength", 1)
    definitions["RuleModel"]["oneOf"] = [{"required": ["allow"]}, {"required": ["deny"]}]
    definitions.pop("JsonValue", None)  # of `runtimes` and `policies`, whose shapes stand above
    properties["servers"]["propertyNames"] = {"pattern": f"^{SERVER_NAME.pattern}$"}
    properties["endpoints"]["propertyNames"] = {"pattern": "^/"}
    _drop_titles(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": IDENTIFIER,
        **schema,
        "title": "tidegate settings",
    }


def _sections(
    kind: str, description: str, extensions: Extensions, definitions: dict[str, Any]
) -> dict[str, Any]:
    """Give the schema of a mapping of extensions to their settings; their own models go to `definitions`."""
    return {
        "type": "object",
        "description": description,
        "properties": {name: _one(kind, name, extensions, definitions) for name in extensions.names(kind)},
        "additionalProperties": False,
    }


def _choices(
    kind: str, listed: dict[str, Any], extensions: Extensions, definitions: dict[str, Any]
) -> dict[str, Any]:
    """Give the schema of a list of extensions, each with a `type` among its settings."""
    choices: list[dict[str, Any]] = []
    for name in extensions.names(kind):
        found = _one(kind, name, extensions, definitions)
        properties = {"type": {"const": name, "description": "Says so."}, **found.get("properties", {})}
        choices.append({**found, "properties": properties, "required": ["type", *found.get("required", [])]})
    return {**listed, "items": {"oneOf": choices} if choices else False}


def _one(kind: str, name: str, extensions: Extensions, definitions: dict[str, Any]) -> dict[str, Any]:
    prefix = kind.removesuffix("s")
    model = extensions.settings_model(kind, name)
    found = model.model_json_schema(by_alias=True, ref_template=f"#/$defs/{prefix}-{name}-{{model}}")
    for inner, definition in found.pop("$defs", {}).items():
        definitions[f"{prefix}-{name}-{inner}"] = definition
    return found


def _drop_titles(part: object) -> None:
    """Drop the titles that pydantic makes of names: they tell nothing that the names do not."""
    if isinstance(part, dict):
        given = cast("dict[str, Any]", part)
        if isinstance(given.get("title"), str):
            del given["title"]
        for inner in given.values():
            _drop_titles(inner)
    elif isinstance(part, list):
        for inner in cast("list[object]", part):
            _drop_titles(inner)
