"""Gateways for the tests here, stopped at their end."""

from __future__ import annotations

from tests.integration.gateway.conftest import gateway as gateway  # the fixture, for the tests here
