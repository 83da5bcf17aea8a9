"""Supply: from what a ServerSpec launches to an image the engine has, and how it is run.

Chooses between pulling (`images`) and building (`build`); does neither itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Image, Package, ServerSpec
from tidegate.extensions.runtimes.docker.build import Builds
from tidegate.extensions.runtimes.docker.images import Pulls, Resolved, Say


@dataclass(frozen=True, slots=True)
class Supplied:
    """An image, and the words it is started with."""

    image: Resolved
    args: tuple[str, ...]
    entrypoint: tuple[str, ...] | None = None


class Supply:
    """Brings the images that servers need."""

    def __init__(self, pulls: Pulls, builds: Builds) -> None:
        self._pulls = pulls
        self._builds = builds

    async def prepare(self, spec: ServerSpec, say: Say) -> None:
        """Pull or build what `find` will ask for.

        Raises:
            RuntimeFailure: it cannot be had.
        """
        if isinstance(spec.launch, Image):
            await self._pulls.bring(spec.launch.image, spec.name, say)
        else:
            await self._builds.bring(_package(spec), spec.name, say)

    async def find(self, spec: ServerSpec) -> Supplied:
        """Give the image, which `prepare` made sure of.

        Raises:
            RuntimeFailure: the engine does not have it.
        """
        if isinstance(spec.launch, Image):
            image = await self._pulls.have(spec.launch.image)
            if image is None:
                raise RuntimeFailure(f"server {spec.name}: image {spec.launch.image} is not on the engine")
            return Supplied(image, spec.launch.args, spec.launch.entrypoint)
        package = _package(spec)
        image = await self._builds.have(package)
        if image is None:
            raise RuntimeFailure(
                f"server {spec.name}: no image was built of {package.name} {package.version}"
            )
        return Supplied(image, package.args)


def _package(spec: ServerSpec) -> Package:
    if not isinstance(spec.launch, Package):
        raise RuntimeFailure(f"server {spec.name}: the docker runtime runs images and packages only")
    return spec.launch
