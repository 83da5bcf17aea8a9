"""Kept: what servers were last seen to list, for commands beside a gateway. Starts nothing, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tidegate.domain.errors import ParseFailure, SettingsError, StateError, UpstreamProtocolError
from tidegate.domain.server import ServerSpec
from tidegate.domain.target import Kind, Target
from tidegate.extensions.state.sqlite import SQLITE, SqliteSettings
from tidegate.gateway.definitions import Definition, Definitions, DefinitionStore, Listed, read_page
from tidegate.gateway.facts import facts_of
from tidegate.ports.extension import Surroundings
from tidegate.ports.facts import Facts
from tidegate.protocol.codec import decode_object
from tidegate.settings import Settings
from tidegate.state_directory import StateDirectory

_LARGEST = 64 * 1024 * 1024
_BETWEEN = "__"


async def kept_facts(settings: Settings) -> Mapping[Target, Facts]:
    """Give what the gateway on the state directory last saw; nothing of servers that were changed since."""
    found: dict[Target, Facts] = {}
    for name, definitions in (await kept_definitions(settings)).items():
        found.update(facts_of(name, definitions))
    return found


async def kept_definitions(settings: Settings) -> Mapping[str, Definitions]:
    """Give what the gateway on the state directory last saw of servers; nothing of those that were changed since."""
    try:
        directory = StateDirectory.look(settings.state)
    except StateError:
        return {}
    found: dict[str, Definitions] = {}
    with directory:
        async with SQLITE.open(SqliteSettings(), Surroundings(directory.path, directory.instance)) as state:
            store = DefinitionStore(state)
            for spec in settings.servers:
                definitions = await _kept(store, spec)
                if definitions is not None:
                    found[spec.name] = definitions
    return found


def told_facts(path: Path) -> Mapping[Target, Facts]:
    """Give what a file says, which has the `tools` and `prompts` of an endpoint by their shown names.

    Raises:
        SettingsError: it is no such file.
    """
    found: dict[Target, Facts] = {}
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
        whole = decode_object(data[:_LARGEST])
        for kind in (Kind.TOOL, Kind.PROMPT):
            listed: dict[str, Definition] = {}
            read_page(kind, whole, listed, [])
            for name, definition in listed.items():
                server, between, own = name.partition(_BETWEEN)
                if not between or not own:
                    raise SettingsError(f"{path}: {name[:100]!r} should be server__name")
                one = Definition(own, definition.fields)
                found.update(facts_of(server, Definitions({kind: Listed((one,))})))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (ParseFailure, UpstreamProtocolError):
        raise SettingsError(
            f"{path}: should be JSON with `tools`, as `tidegate tools --json` writes it"
        ) from None
    return found


async def _kept(store: DefinitionStore, spec: ServerSpec) -> Definitions | None:
    """Where the runtime is chosen at a start, look for what either was seen to run."""
    for runtime in (spec.runtime,) if spec.runtime != "auto" else ("docker", "process"):
        found = await store.load(replace(spec, runtime=runtime))
        if found is not None:
            return found
    return None
