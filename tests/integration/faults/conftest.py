"""The gateways of the tests here are made as those of the neighbours are."""

from __future__ import annotations

from tests.integration.gateway.conftest import gateway

__all__ = ["gateway"]
