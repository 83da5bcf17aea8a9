"""The table of extensions: which there are of each kind, and where each is.

Imports an extension only when it is asked for; knows none of them. Third parties add theirs as entry
points `tidegate.<kind>`; a built-in name cannot be taken over by one.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from pydantic import BaseModel

from tidegate.domain.errors import SettingsError
from tidegate.ports.extension import Extension

TABLE: Mapping[str, Mapping[str, str]] = {
    "runtimes": {
        "docker": "tidegate.extensions.runtimes.docker:DOCKER",
        "process": "tidegate.extensions.runtimes.process:PROCESS",
    },
    "identity": {
        # API keys stand on the state store, so `assemble` opens them over the one it has.
        "local": "tidegate.extensions.identity.local:LOCAL",
    },
    # Named by what stands before the colon of a reference: `${vault:…}`.
    "secrets": {
        "env": "tidegate.extensions.secrets.environment:ENVIRONMENT",
        "file": "tidegate.extensions.secrets.files:FILES",
        "secret": "tidegate.extensions.secrets.store:STORE",
        "docker": "tidegate.extensions.secrets.compose:COMPOSE",
        "helper": "tidegate.extensions.secrets.helper:HELPER",
        "vault": "tidegate.extensions.secrets.vault:VAULT",
    },
    "policies": {
        "cedar": "tidegate.extensions.policies.cedar:CEDAR",
        "opa": "tidegate.extensions.policies.opa:OPA",
    },
    "state": {
        "memory": "tidegate.extensions.state.memory:MEMORY",
        "sqlite": "tidegate.extensions.state.sqlite:SQLITE",
    },
}
"""Kind to name to dotted name (`module:attribute`) of the built-in extensions."""


def names(kind: str) -> Sequence[str]:
    """Give the names of the extensions of a kind, the built-in ones first; imports none."""
    built_in = TABLE.get(kind, {})
    return [*built_in, *sorted(set(_third_party(kind)) - set(built_in))]


def resolve(kind: str, name: str) -> Extension[Any, Any]:
    """Import an extension.

    Raises:
        SettingsError: there is none of that name, or it cannot be imported.
    """
    dotted = TABLE.get(kind, {}).get(name)
    if dotted is None:
        entry = _third_party(kind).get(name)
        if entry is None:
            known = ", ".join(names(kind)) or "none"
            raise SettingsError(f"there is no extension {name} of the kind {kind} (known: {known})")
        dotted = entry.value
    module, _, attribute = dotted.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"the extension {name} of the kind {kind} cannot be loaded: {error}") from error
    if not isinstance(found, Extension):
        raise SettingsError(f"{dotted}, given as the extension {name} of the kind {kind}, is none")
    return cast("Extension[Any, Any]", found)


def settings_model(kind: str, name: str) -> type[BaseModel]:
    """Give the model of an extension's settings.

    Raises:
        SettingsError: it cannot be had.
    """
    model = resolve(kind, name).settings
    if not issubclass(model, BaseModel):
        raise SettingsError(f"the settings of the extension {name} of the kind {kind} are no pydantic model")
    return model


def _third_party(kind: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"tidegate.{kind}")}
