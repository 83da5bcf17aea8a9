"""An engine on a server of the tests' own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from tests.servers.documented_opa import DocumentedOpa, documented_opa, tree
from tidegate.extensions.policies.opa import OPA, OpaSettings
from tidegate.extensions.policies.opa.policy import OpaPolicy
from tidegate.ports.extension import Surroundings

Open = Callable[..., Awaitable[OpaPolicy]]
PATH = "tidegate/authz"


@pytest.fixture
async def opa() -> AsyncIterator[DocumentedOpa]:
    async with documented_opa() as made:
        made.documents[PATH] = lambda _: {"allow": True}
        made.policies["authz.rego"] = ("package tidegate.authz", tree(PATH))
        yield made


@pytest.fixture
async def opened(opa: DocumentedOpa, tmp_path: Path) -> AsyncIterator[Open]:
    """Open an engine, with settings beside the ones that it needs."""
    async with AsyncExitStack() as stack:

        async def make(**settings: Any) -> OpaPolicy:
            whole = {"url": opa.address, "path": PATH, **settings}
            entered = OPA.open(OpaSettings.model_validate(whole), Surroundings(tmp_path, ""))
            return cast("OpaPolicy", await stack.enter_async_context(entered))

        yield make
