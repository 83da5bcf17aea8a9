"""Gateways for the requirements: those of the unit tests, closed when the test is over."""

from __future__ import annotations

from tests.unit.edge.conftest import listen as listen
from tests.unit.gateway.conftest import gateway as gateway
