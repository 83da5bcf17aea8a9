"""Gateways for the tests here: one for each test that harms it, one for a module that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway.gateway import Gateway, marked


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Make gateways: `gateway(servers={...})` gives one that answers. All are stopped at the end."""
    made: list[Gateway] = []

    def make(**settings: Any) -> Gateway:
        place = tmp_path / f"g{len(made)}"
        place.mkdir()
        each = Gateway(place, marked(settings, place))
        made.append(each)
        return each.start()

    yield make
    for each in made:
        each.stop()
