"""Reload: from one Generation of settings to the next, whole and in one step, or not at all.

Everything that may fail is made before anything is changed. What cannot be followed while the gateway runs is
refused, and with it all of the file, so that what is in force is always one version and nothing in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tidegate.access.authorize import Grants
from tidegate.assemble import identities, policies
from tidegate.assemble.gateway import Gateway, front
from tidegate.assemble.launchers import Launchers
from tidegate.assemble.plant import Plant, caps, open_runtimes, realise
from tidegate.assemble.source import SettingsFile
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.errors import JournalUnavailable, SettingsError, StateError, TidegateError
from tidegate.domain.record import RecordKind
from tidegate.domain.server import ServerSpec
from tidegate.edge.reloads import SettingsShape
from tidegate.fleet.reconcile import Diff, compare
from tidegate.gateway.endpoint import Endpoint
from tidegate.settings import Settings
from tidegate.settings.changes import different, needing_restart
from tidegate.settings.versions import Version, Versions, digest_of
from tidegate.telemetry import configure_logs, log

Changes = dict[str, list[str]]
"""Names of what differs, by what becomes of it."""


@dataclass(frozen=True, slots=True)
class _Next:
    """What is to be in force next, opened beside what is."""

    settings: Settings
    text: str
    who: str
    over: str | None
    identities: identities.Prepared
    policies: policies.Prepared


class Reload:
    """The settings in force, and the ways to others."""

    def __init__(self, plant: Plant, file: SettingsFile, settings: Settings, version: Version) -> None:
        self.settings = settings
        self.version = version
        """In force."""
        self.problems: Sequence[str] = ()
        """Why the file was not taken last; none where it was."""
        self._plant = plant
        self._file = file
        self._versions = Versions(plant.directory.path)
        self._gateway: Gateway | None = None
        self._turn = asyncio.Lock()

    @property
    def number(self) -> int:
        """Give the number of the version in force."""
        return self.version.number

    def begin(self, gateway: Gateway) -> None:
        """Begin to take what is told: there is something that serves."""
        self._gateway = gateway

    # -- Reloads ------------------------------------------------------------------------------

    def about(self) -> SettingsShape:
        """Tell of the version in force."""
        version = self.version
        return {
            "version": version.number,
            "since": round(version.time),
            "by": version.who,
            "file": version.file,
            "in_place_of_the_file": version.over is not None,
            "problems": list(self.problems),
        }

    async def versions(self) -> Sequence[Mapping[str, object]]:
        """Give the versions that are kept, without their texts."""
        return [told(version) for version in await asyncio.to_thread(self._versions.all)]

    async def reload(self, who: str) -> Mapping[str, object]:
        """Take the file as it stands."""
        async with self._turn:
            try:
                text = await asyncio.to_thread(self._file.read_again)
                settings = await asyncio.to_thread(self._file.parse, text)
                changes = await self._take(settings, text, who, None)
            except TidegateError as error:
                self._refuse(who, error)
                raise
        return {**self.about(), "changes": changes}

    async def rollback(self, number: int, who: str) -> Mapping[str, object]:
        """Put an earlier version in force, in place of the file until that changes."""
        async with self._turn:
            try:
                version = await asyncio.to_thread(self._versions.get, number)
                settings = await asyncio.to_thread(self._file.parse, version.text, f"version {number}")
                over = await asyncio.to_thread(self._standing, version)
                changes = await self._take(settings, version.text, f"{who}: rollback to {number}", over)
            except TidegateError as error:
                self._refuse(who, error, number)
                raise
        return {**self.about(), "changes": changes}

    async def again(self, who: str) -> Mapping[str, object]:
        """Understand the text in force anew: what it refers to may be something else now.

        Raises:
            TidegateError: it cannot be taken; what was in force stays so.
        """
        async with self._turn:
            try:
                text = self.version.text
                settings = await asyncio.to_thread(self._file.parse, text)
                changes = await self._take(settings, text, who, self.version.over)
            except TidegateError as error:
                self._refuse(who, error)
                raise
        return {**self.about(), "changes": changes}

    # -- one step -----------------------------------------------------------------------------

    async def _take(self, settings: Settings, text: str, who: str, over: str | None) -> Changes:
        gateway, plant = self._gateway, self._plant
        if gateway is None:
            raise StateError("the gateway is still starting")
        if gateway.path.pipeline.draining:
            raise StateError("the gateway is stopping")
        blocked = needing_restart(self.settings, settings, plant.runtimes)
        if blocked:
            raise SettingsError(
                [f"{self._file.path}: {key}: needs a restart to change; nothing was taken" for key in blocked]
            )
        async with (
            gateway.identities.prepared(settings.auth) as vouching,
            gateway.policies.prepared(settings.policies) as deciding,
        ):
            taking = _Next(settings, text, who, over, vouching, deciding)
            return await self._turn_to(gateway, plant, taking)

    async def _turn_to(self, gateway: Gateway, plant: Plant, taking: _Next) -> Changes:
        """Have what was opened and made be in force, all of it or nothing."""
        settings, text, who, over = taking.settings, taking.text, taking.who, taking.over
        servers = await self._realised(settings)
        changes = changes_between(self.settings, settings, compare(plant.servers, servers))
        if not changes and text == self.version.text and over == self.version.over:
            self._took(who, changes)
            return changes
        like = await asyncio.to_thread(front, settings)
        await open_runtimes(plant, settings, servers)
        grants = Grants(settings.roles, tuple(each.it.policy for each in taking.policies), settings.tenants)
        renewal = await gateway.catalog.prepare(servers, settings.endpoints, grants)
        version = await self._keep(text, who, changes, over)
        gone: list[Endpoint] = []

        def step() -> None:
            gateway.show(like, settings)
            gateway.identities.adopt(taking.identities, settings.tenants)
            gateway.policies.adopt(taking.policies)
            limits = settings.limits
            plant.limits.change(in_all=limits.calls_in_flight, each=limits.calls_per_principal)
            plant.quotas.change(settings.quotas)
            plant.fleet.bound(limits.starts, caps(settings), limits.memory_reserve)
            plant.fleet.host.reserve = limits.memory_reserve
            if settings.logs != self.settings.logs:
                configure_logs(settings.logs.format, settings.logs.level)
            gone.extend(gateway.catalog.adopt(renewal))
            plant.fleet.rollouts.launcher_for = launchers.launcher_for
            self.settings, self.version, plant.servers = settings, version, servers

        launchers = Launchers(plant, settings)
        try:
            await plant.fleet.apply(servers, launchers.launcher_for, step)
        except TidegateError:
            if self.version is not version:
                await asyncio.to_thread(self._versions.drop, version.number)
            raise
        gateway.path.leave(gone)
        self._took(who, changes)
        return changes

    def _standing(self, version: Version) -> str | None:
        """Give the digest of the file's text where a version is to be in force in its place."""
        try:
            found = digest_of(self._file.read_again())
        except SettingsError:
            found = digest_of("")  # whatever is there next is another text
        return None if found == version.digest else found

    async def _realised(self, settings: Settings) -> Sequence[ServerSpec]:
        """Give the servers with the runtime of each. One that has been chosen stays: an engine may be away now."""
        chosen = {spec.name: spec.runtime for spec in self._plant.servers}
        declared = {spec.name: spec.runtime for spec in self.settings.servers}
        servers: list[ServerSpec] = []
        for spec in settings.servers:
            known = chosen.get(spec.name) if declared.get(spec.name) == spec.runtime else None
            servers.append(replace(spec, runtime=known or await realise(spec, settings)))
        return servers

    async def _keep(self, text: str, who: str, changes: Changes, over: str | None) -> Version:
        """Keep and record what is about to be in force: what cannot be recorded is not done."""
        version = await asyncio.to_thread(self._versions.add, text, who, self._file.path, changes, over=over)
        fields = {"event": "reloaded", "by": who, "version": version.number, "settings": version.digest}
        try:
            self._plant.journal.event(RecordKind.GATEWAY, {**fields, "changes": changes})
        except JournalUnavailable as error:
            await asyncio.to_thread(self._versions.drop, version.number)
            raise StateError(f"nothing was taken, since it cannot be recorded: {error}") from error
        return version

    def _took(self, who: str, changes: Changes) -> None:
        self.problems = ()
        self._plant.metrics.reloads["applied" if changes else "unchanged"] += 1
        log().info("settings.reloaded", by=who, version=self.version.number, changes=changes)
        if self.version.over is not None:
            log().warning("settings.overridden", version=self.version.number, file=str(self._file.path))

    def _refuse(self, who: str, error: TidegateError, number: int | None = None) -> None:
        problems = error.problems if isinstance(error, SettingsError) else [str(error)]
        if number is None:
            self.problems = problems
        self._plant.metrics.reloads["refused"] += 1
        for problem in problems[:_SAID]:
            log().error("settings.refused", by=who, problem=problem, in_force=self.version.number)
        fields = {"event": "reload_refused", "by": who, "problems": len(problems)}
        try:
            self._plant.journal.event(RecordKind.GATEWAY, {**fields, "in_force": self.version.number})
        except JournalUnavailable as unavailable:
            log().error("journal.unavailable", reason=str(unavailable))


_SAID = 20
"""Mistakes of a file that are logged; status tells all."""


def told(version: Version) -> Mapping[str, object]:
    """Give a version for people, without its text."""
    return {
        "version": version.number,
        "time": round(version.time),
        "by": version.who,
        "file": version.file,
        "settings": version.digest,
        "changes": version.changes,
        "in_place_of_the_file": version.over is not None,
    }


def changes_between(before: Settings, after: Settings, servers: Diff) -> Changes:
    """Give the names of what differs: servers, endpoints, and the other keys of the file."""
    old: Mapping[str, EndpointSpec] = {each.path: each for each in before.endpoints}
    new: Mapping[str, EndpointSpec] = {each.path: each for each in after.endpoints}
    found = {f"servers {what}": names for what, names in servers.plain().items()} | {
        "endpoints added": [path for path in new if path not in old],
        "endpoints removed": [path for path in old if path not in new],
        "endpoints changed": [path for path in new if path in old and new[path] != old[path]],
        "settings": [key for key in different(before, after) if key not in ("servers", "endpoints")],
    }
    return {what: names for what, names in found.items() if names}
