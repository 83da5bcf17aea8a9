"""Keycloak and a gateway with its preset, end to end. Skipped where `scripts/keycloak` has not fetched it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.idp.keycloak import AUDIENCE, SECRET, Keycloak, keycloak, missing
from tests.integration.gateway.gateway import Gateway, marked, server
from tests.integration.gateway.resource_server import Client, Got

pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing()), pytest.mark.timeout(300)]

MAPPED = {"roles": {"map": {"adjuster": "user"}}, "groups": {"claim": "groups"}}


@dataclass(frozen=True, slots=True)
class Serving:
    """Both, and a client."""

    keycloak: Keycloak
    gateway: Gateway
    plain: Client


def settings(*auth: dict[str, Any]) -> dict[str, Any]:
    return {
        "public_url": AUDIENCE.removesuffix("/mcp"),
        "allowed_hosts": ["127.0.0.1"],
        "auth": list(auth),
        "servers": {"old": server("legacy_stdio", sharing="shared")},
        "endpoints": {"/mcp": {}, "/other": {}},
        "logs": {"format": "json"},
    }


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    place = tmp_path_factory.mktemp("keycloak")
    with keycloak(place) as issuer:
        preset = {"type": "jwt", "preset": "keycloak", "issuer": issuer.issuer, **MAPPED}
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        made = Gateway(place, marked(settings(preset), place))
        try:
            made.start(port).until_servers(old="ready")
            yield Serving(issuer, made, Client(f"http://127.0.0.1:{port}"))
            made.check_end()
            assert "eyJ" not in made.said()
        finally:
            made.kill()


def tools(got: Got) -> int:
    assert got.status == 200, got
    return len(got.json["result"]["tools"])


def test_a_person_has_the_roles_that_the_realm_gives(serving: Serving) -> None:
    issued = serving.keycloak.log_in()
    assert tools(serving.plain.ask("/mcp", issued["access_token"])) > 0
    assert serving.plain.ask("/other", issued["access_token"]).status == 401


def test_a_client_without_roles_is_known_and_shown_nothing(serving: Serving) -> None:
    assert tools(serving.plain.ask("/mcp", serving.keycloak.token())) == 0


def test_neither_an_id_token_nor_a_token_for_nobody_is_taken(serving: Serving) -> None:
    issued = serving.keycloak.log_in()
    assert serving.plain.ask("/mcp", issued["id_token"]).status == 401
    assert serving.plain.ask("/mcp", issued["refresh_token"]).status == 401
    assert serving.plain.ask("/mcp", serving.keycloak.log_in("elsewhere")["access_token"]).status == 401


def test_whoever_logs_out_is_refused_where_keycloak_is_asked_about_tokens(serving: Serving) -> None:
    asked = {
        "type": "introspection", "issuer": serving.keycloak.issuer, "client_id": "gateway",
        "client_secret": SECRET, "keep": 1, **MAPPED,
        "roles": {"claims": "realm_access.roles", "map": {"adjuster": "user"}},
    }  # fmt: skip
    before = serving.gateway.config.read_text()
    serving.gateway.config.write_text(yaml.safe_dump(marked(settings(asked), serving.gateway.place)))
    reloaded = serving.gateway.command("reload")
    assert reloaded.returncode == 0, reloaded.stdout + reloaded.stderr
    issued = serving.keycloak.log_in()
    assert tools(serving.plain.ask("/mcp", issued["access_token"])) > 0
    assert serving.keycloak.post("logout", "desk", refresh_token=issued["refresh_token"]).status_code == 204
    serving.gateway.until(
        lambda: serving.plain.ask("/mcp", issued["access_token"]).status == 401, "the token to be refused"
    )
    serving.gateway.config.write_text(before)
