"""Offline: calls explained where no gateway runs: by the settings file, and what one last saw. Starts and serves nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from tidegate.access.authorize import Grants
from tidegate.access.quotas import Quotas
from tidegate.access.stops import Stops
from tidegate.assemble.kept import kept_definitions
from tidegate.assemble.known import KnownHere
from tidegate.assemble.policies import open_policies
from tidegate.assemble.stops import open_store
from tidegate.edge.admin.explaining import Explaining, Known, Recording, Speaker
from tidegate.extensions.state.sqlite import SQLITE, SqliteSettings
from tidegate.gateway.definitions import Definitions
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.explain import Explainer
from tidegate.gateway.facts import facts_of
from tidegate.gateway.view import Part, build
from tidegate.ports.extension import Surroundings
from tidegate.ports.facts import Informed
from tidegate.ports.state import State
from tidegate.settings import Settings
from tidegate.state_directory import SharedDirectory, StateDirectory


@asynccontextmanager
async def open_offline(settings: Settings, record: Recording) -> AsyncGenerator[Explaining]:
    """Explain by settings, and what the state directory has. What is used of quotas is not known here.

    Raises:
        SettingsError: the policies are wrong.
        StateError: the state cannot be read.
    """
    definitions = await kept_definitions(settings)
    around = Surroundings(settings.state, "")
    async with open_policies(settings.policies, around) as policies, _state(settings) as state:
        facts = {
            target: each for name, one in definitions.items() for target, each in facts_of(name, one).items()
        }
        for policy in policies:
            if isinstance(policy, Informed):
                policy.learn(facts)
        stops = Stops()
        if state is not None:
            stops.turn(await open_store(state).list())
        endpoints = _endpoints(settings, Grants(settings.roles, policies, settings.tenants), definitions)
        explainer = Explainer(endpoints, stops, Quotas(clock=time.monotonic, now=time.time))
        known: Known = _Nobody() if state is None else KnownHere(state)
        yield Explaining(explainer, known, settings.state / "journal", record)


def _endpoints(
    settings: Settings, grants: Grants, definitions: Mapping[str, Definitions]
) -> Mapping[str, Endpoint]:
    found: dict[str, Endpoint] = {}
    for spec in settings.endpoints:
        endpoint = found[spec.path] = Endpoint(spec, grants.at(spec))
        parts = [Part(name, definitions.get(name), None, "stopped") for name in spec.servers]
        endpoint.show(build(spec, parts))
    return found


@asynccontextmanager
async def _state(settings: Settings) -> AsyncGenerator[State | None]:
    """Open what keys and stops are kept in, where there is any yet."""
    if settings.shared is not None:
        around = Surroundings(SharedDirectory.open(settings.shared).path, "")
    elif (settings.state / "VERSION").exists():
        directory = StateDirectory.look(settings.state)
        around = Surroundings(directory.path, directory.instance)
    else:
        yield None
        return
    async with SQLITE.open(SqliteSettings(), around) as state:
        yield state


class _Nobody:
    """Knows nobody."""

    async def by_key(self, key: str) -> Speaker | None:
        return None

    async def named(self, tenant: str, issuer: str, subject: str) -> Sequence[Speaker]:
        return ()
