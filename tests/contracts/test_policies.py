"""The built-in engines pass the contract of `ports.policy`. OPA's own, where it is built, does in `integration`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.documented_opa import documented_opa, tree
from tidegate.extensions.policies.cedar.files import Files
from tidegate.extensions.policies.cedar.policy import CedarPolicy
from tidegate.extensions.policies.opa import OPA, OpaSettings
from tidegate.ports.extension import Surroundings
from tidegate.testing.policy_contract import Made, PolicyContract

CEDAR = """
permit (principal in Role::"user", action == Action::"claims__get", resource);
permit (principal in Role::"user", action == Action::"claims__pay", resource)
when { context.arguments.amount <= 100 };
forbid (principal in Role::"guest", action, resource in Server::"claims");
"""
CLOSED = 'forbid (principal, action == Action::"claims__get", resource);'


class TestCedar(PolicyContract):
    @pytest.fixture
    async def made(self, tmp_path: Path) -> Made:
        (tmp_path / "a.cedar").write_text(CEDAR)
        policy = CedarPolicy("cedar", Files([tmp_path / "*.cedar"]), {})

        async def close() -> None:
            (tmp_path / "b.cedar").write_text(CLOSED)
            await policy.renew()

        return Made(policy, close)


class TestOpa(PolicyContract):
    """On a server of the tests' own, which decides in Python."""

    batch = False

    @pytest.fixture
    async def made(self, tmp_path: Path) -> AsyncIterator[Made]:
        closed: list[bool] = []

        def decides(given: dict[str, Any]) -> dict[str, Any]:
            roles, target = given["principal"]["roles"], given["target"]
            tool = target["name"] if (target["kind"], target["server"]) == ("tool", "claims") else ""
            pays = tool == "pay" and "user" in roles
            arguments: Any = given.get("arguments", {})
            amount: Any = arguments.get("amount") if hasattr(arguments, "get") else None
            small = isinstance(amount, int) and not isinstance(amount, bool) and amount <= 100
            return {
                "allow": (tool == "get" and "user" in roles) or (pays and small),
                "deny": ["guests"] * ("guest" in roles) + ["closed"] * (tool == "get" and bool(closed)),
                "shown": pays,
                "reads": ["amount"] * pays,
            }

        async with documented_opa() as opa:
            opa.documents["authz"] = decides
            opa.documents["many"] = lambda given: [
                decides({**given, "target": target}) for target in given["targets"]
            ]
            opa.policies["authz.rego"] = ("package authz", tree("authz"))
            settings = {"url": opa.address, "path": "authz", "principal": ["roles"], "timeout": 5}
            if self.batch:
                settings["batch"] = "many"
            opened = OPA.open(OpaSettings.model_validate(settings), Surroundings(tmp_path, ""))
            async with opened as policy:

                async def close() -> None:
                    closed.append(True)
                    opa.policies["authz.rego"] = ("package authz # closed", tree("authz"))

                yield Made(policy, close)


class TestOpaWithBatch(TestOpa):
    batch = True
