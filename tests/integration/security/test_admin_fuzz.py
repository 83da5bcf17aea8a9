"""The admin API under what schemathesis makes of its own description: as nobody, as a user and as an administrator.

The description is the one that it serves. Event streams have no end, so an administrator's are not asked for here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.integration.gateway.gateway import Gateway, marked, server
from tests.integration.gateway.resource_server import an_issuer
from tests.servers.issuer import Issuer

ADMINISTRATORS = 40
"""They take turns, since one alone may ask twenty times a second."""
EXAMPLES = 8
"""Requests of each operation, fitting its description, and as many that do not."""
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429"]
"""Statuses that refuse what does not fit: one that is too large is not even read. No fault of the gateway's is among them."""
STREAM = "GET /api/v1/events"
SERVER = "old"


@dataclass(frozen=True, slots=True)
class Admin:
    """A gateway, and its own description of its admin API."""

    gateway: Gateway
    issuer: Issuer
    schema: Any

    def token(self, subject: str, role: str) -> str:
        return self.issuer.token(aud=self.gateway.url("/api"), sub=subject, groups=[role], jti=subject)


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    place = tmp_path_factory.mktemp("fuzz")
    with an_issuer() as issuer:
        roles = {"claims": "groups", "map": {"ops": "admin", "desk": "user"}}
        declared = {
            "auth": [{"type": "jwt", "issuer": issuer.url, "roles": roles}],
            "servers": {SERVER: server("legacy_stdio", sharing="shared", stateless=True)},
        }
        made = Gateway(place, marked(declared, place)).start().until_servers(old="ready")
        found = Admin(made, issuer, None)
        told = requests.get(
            made.url("/api/v1/openapi.json"),
            headers={"Authorization": f"Bearer {found.token('first', 'ops')}"},
            timeout=20,
        )
        description = told.json()
        for each in (each for methods in description["paths"].values() for each in methods.values()):
            del each["security"]  # who asks is this test's to say, and not to be made up
        judged = SchemathesisConfig.from_dict(
            {"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}}
        )
        yield Admin(made, issuer, schemathesis.openapi.from_dict(description, config=judged))
        made.check_end()


def operations(admin: Admin) -> dict[str, Any]:
    """Give the operations of the description by their names."""
    found = {each.ok().label: each.ok() for each in admin.schema.get_all_operations()}
    assert STREAM in found
    return found


def fuzz(operation: Any, ask: Callable[[Any], None], mode: GenerationMode, **given_parameters: Any) -> None:
    """Have requests made of an operation's description, and asked."""

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode, **given_parameters))
    def each(case: Any) -> None:
        ask(case)

    each()


def test_nobody_and_a_user_are_told_nothing_whatever_they_send(admin: Admin) -> None:
    base = admin.gateway.base
    user = {"Authorization": f"Bearer {admin.token('ann', 'desk')}"}
    answers: dict[int, set[bytes]] = {401: set(), 403: set()}

    with requests.Session() as session:

        def ask(case: Any) -> None:
            for headers, status in (({}, 401), (user, 403)):
                got = case.call(base_url=base, session=session, headers=headers, timeout=20)
                assert got.status_code == status
                answers[status].add(got.content)

        for operation in operations(admin).values():
            fuzz(operation, ask, GenerationMode.POSITIVE)
    assert {status: len(bodies) for status, bodies in answers.items()} == {401: 1, 403: 1}


def test_an_administrator_is_answered_as_the_description_says(admin: Admin) -> None:
    tokens = itertools.cycle([admin.token(f"admin-{number}", "ops") for number in range(ADMINISTRATORS)])
    statuses: set[int] = set()
    with requests.Session() as session:

        def ask(case: Any) -> None:
            headers = {"Authorization": f"Bearer {next(tokens)}"}
            # What fits the description may be refused all the same: a name is one of a server only if there is one.
            got = case.call_and_validate(
                base_url=admin.gateway.base, session=session, headers=headers, timeout=30,
                excluded_checks=[positive_data_acceptance],
            )  # fmt: skip
            statuses.add(got.status_code)

        for label, operation in operations(admin).items():
            if label == STREAM:
                continue
            fuzz(operation, ask, GenerationMode.POSITIVE)
            if any(each.items for each in (operation.path_parameters, operation.query, operation.body)):
                fuzz(operation, ask, GenerationMode.NEGATIVE)
            if "{name}" in label:
                fuzz(operation, ask, GenerationMode.POSITIVE, path_parameters={"name": SERVER})
    # Not everything was refused, nor for one and the same reason.
    assert {200, 201, 202, 404, 409, 422} <= statuses
