"""The extension itself: how the Docker runtime is opened and closed."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tidegate.extensions.runtimes.docker.bases import Bases
from tidegate.extensions.runtimes.docker.build import Builds
from tidegate.extensions.runtimes.docker.data import Data
from tidegate.extensions.runtimes.docker.egress.image import SidecarImage
from tidegate.extensions.runtimes.docker.egress.outlets import Outlets
from tidegate.extensions.runtimes.docker.engine import open_engine
from tidegate.extensions.runtimes.docker.harden import NOBODY
from tidegate.extensions.runtimes.docker.images import Pulls
from tidegate.extensions.runtimes.docker.mounts import forbidden_places
from tidegate.extensions.runtimes.docker.networks import Networks
from tidegate.extensions.runtimes.docker.runtime import DockerRuntime, Place
from tidegate.extensions.runtimes.docker.settings import DockerSettings
from tidegate.extensions.runtimes.docker.supply import Supply
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.runtime import Runtime


@asynccontextmanager
async def open_docker(settings: DockerSettings, surroundings: Surroundings) -> AsyncGenerator[Runtime, None]:
    """Open the runtime. An engine that is down is told by the first call, not here."""
    async with open_engine(settings) as engine:
        pulls = Pulls(engine, settings)
        bases = Bases(engine, pulls, settings, surroundings)
        supply = Supply(pulls, Builds(engine, pulls, bases, surroundings))
        place = Place(
            instance=surroundings.instance,
            user=default_user(os.getuid(), os.getgid()),
            forbidden=forbidden_places(surroundings.state_dir, engine.door.url, Path.home()),
            accept_missing=settings.accept_missing,
        )
        sidecars = SidecarImage(engine, pulls, bases, settings.base.sidecar)
        outlets = Outlets(engine, sidecars, settings.resolvers)
        networks = Networks(engine, outlets, bridged=settings.private_http == "bridge")
        data = Data(engine, pulls, surroundings.instance, place.user)
        runtime = DockerRuntime(engine, supply, networks, data, place)
        try:
            yield runtime
        finally:
            await runtime.close()


def default_user(uid: int, gid: int) -> str:
    """Give the workloads' user: the gateway's own, so that what it may read they may, but never root."""
    return f"{uid}:{gid}" if uid and gid else NOBODY


DOCKER: Extension[DockerSettings, Runtime] = Extension(DockerSettings, open_docker)
