"""An engine on a server of the tests' own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.servers.documented_opa import DocumentedOpa, documented_opa, tree
from tidegate.extensions.policies.opa import OpaSettings
from tidegate.extensions.policies.opa.api import open_api
from tidegate.extensions.policies.opa.policy import OpaPolicy
from tidegate.ports.extension import Surroundings

Open = Callable[..., Awaitable[OpaPolicy]]
PATH = "tidegate/authz"
PATIENT = 20.0
"""Seconds that a look may take: the machine may be busy."""


@pytest.fixture
async def opa() -> AsyncIterator[DocumentedOpa]:
    async with documented_opa() as made:
        made.documents[PATH] = lambda _: {"allow": True}
        made.policies["authz.rego"] = ("package tidegate.authz", tree(PATH))
        yield made


@pytest.fixture
async def opened(opa: DocumentedOpa, tmp_path: Path) -> AsyncIterator[Open]:
    """Open an engine, with settings beside the ones that it needs. It looks for changes when a test has it look."""
    async with AsyncExitStack() as stack:

        async def make(**settings: Any) -> OpaPolicy:
            given = OpaSettings.model_validate({"url": opa.address, "path": PATH, **settings})
            api = await stack.enter_async_context(open_api(given, Surroundings(tmp_path, "")))
            policy = OpaPolicy(given, api, PATIENT)
            await policy.look()
            await policy.renew()
            return policy

        yield make
