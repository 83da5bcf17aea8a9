"""The servers and the gateway that all tests here share; none of them harms it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.matrix import upstreams
from tests.matrix.run import Run, before
from tests.matrix.upstreams import Upstream


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Upstream]]:
    """The feature servers in all forms."""
    with upstreams.running() as started:
        yield started


@pytest.fixture(scope="session")
def run(servers: dict[str, Upstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One gateway before all of them."""
    with before(servers, tmp_path_factory.mktemp("matrix")) as made:
        yield made
