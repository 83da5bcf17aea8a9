"""Tenants in the settings: what is whose, by names and patterns, and the mistakes that would let one see another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings.given import only_mistake, read
from tidegate.domain.endpoint import Effect, EndpointSpec, Selection
from tidegate.domain.role import Grant, Role
from tidegate.domain.tenant import Tenant
from tidegate.settings.load import declared_roles, declared_tenants

BASE = """
servers:
  claims: {package: 'pypi:t==1'}
  marine-tides: {package: 'pypi:t==1'}
  cars: {package: 'pypi:t==1'}
  maps: {package: 'pypi:t==1'}
"""
DEFAULT = EndpointSpec("", ()).rules


def test_servers_and_endpoints_are_a_tenants_by_name_or_pattern() -> None:
    settings = read(
        BASE
        + """
endpoints: {/mcp: {}, /marine/: {}, /marine/all: {names: plain}}
tenants:
  marine: {servers: [claims, "marine-*", "new-*"], endpoints: ["/marine", "/marine/*"]}
  motor: {servers: [cars]}
  other:
"""
    )
    assert list(settings.tenants) == [
        Tenant("marine", ("claims", "marine-tides"), ("/marine", "/marine/all")),
        Tenant("motor", ("cars",)),
        Tenant("other"),
    ]
    assert settings.tenants.names == ("default", "marine", "motor", "other")
    assert settings.tenants.of_server("maps") is None
    assert [each.servers for each in settings.endpoints] == [
        ("claims", "marine-tides", "cars", "maps"),
        ("claims", "marine-tides", "maps"),
        ("claims", "marine-tides", "maps"),
    ]
    assert settings.endpoints[0].rules == DEFAULT, "tenants alone say nothing about rights"


def test_own_roles_and_quotas_are_beside_those_of_all() -> None:
    settings = read(
        BASE
        + """
roles: {clerk: {}}
quotas: [{per: principal, calls: 5/s}]
tenants:
  marine:
    roles: {captain: {includes: [clerk], allow: [{servers: [claims]}]}}
    quotas: [{per: principal, calls: 9/min}, {name: few, per: all, at_once: 3, roles: [captain]}]
  motor: {roles: {captain: {}}, quotas: [{per: principal, calls: 9/min}]}
"""
    )
    captain = Role("captain", ("clerk",), (Grant(Effect.ALLOW, 0, (), Selection(("claims",))),))
    assert [each.roles for each in settings.tenants] == [(captain,), (Role("captain"),)]
    assert [(each.name, each.tenants) for each in settings.quotas] == [
        ("principal-s", ()),
        ("marine.principal-min", ("marine",)),
        ("marine.few", ("marine",)),
        ("motor.principal-min", ("motor",)),
    ]


def test_own_roles_leave_nothing_open_beside_them() -> None:
    settings = read(BASE + "tenants: {marine: {roles: {captain: {}}}}")
    assert settings.endpoints[0].rules == ()


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("tenants: {'a b': {}}", "tenants.a b", "is no name for a tenant"),
        ("tenants: {a: {servers: [clams]}}", "tenants.a.servers[0]", "there is no server clams"),
        ("tenants: {a: {endpoints: [/x]}}", "tenants.a.endpoints[0]", "there is no endpoint /x"),
        ("tenants: {a: {servers: [cars]}, b: {servers: ['c*']}}", "servers.cars", "is of several tenants: a, b"),
        ("tenants: {a: {roles: {user: {}}}}", "tenants.a.roles.user", "is the name of a role"),
        ("tenants: {a: {roles: {r: {includes: [x]}}}}", "tenants.a.roles.r.includes[0]", "there is no role x"),
        ("tenants: {a: {quotas: [{per: all}]}}", "tenants.a.quotas[0]", "exactly one of calls and at_once"),
        (
            "tenants: {a: {quotas: [{per: all, at_once: 1, tenants: [b]}]}}",
            "tenants.a.quotas[0].tenants", "is this tenant already",
        ),
        (
            "quotas: [{name: a.x, per: all, at_once: 1}]\ntenants: {a: {quotas: [{name: x, per: all, at_once: 1}]}}",
            "tenants.a.quotas[0].name", "there is a quota a.x already",
        ),
        (
            "endpoints: {/e: {servers: [cars]}}\ntenants: {a: {endpoints: [/e]}, b: {servers: [cars]}}",
            "endpoints./e.servers[0]", "is of the tenant b, and the endpoint is a's",
        ),
        (
            "endpoints: {/e: {names: plain, servers: [maps, cars]}}\ntenants: {b: {servers: [cars]}}",
            "endpoints./e.names", "plain names that collide would tell",
        ),
        ("endpoints: {/e: {}}\ntenants: {a: {endpoints: [/e]}, b: {endpoints: ['/*']}}", "endpoints./e", "a, b"),
        (
            "auth: {type: jwt, issuer: 'https://id.example', audience: [a], tenant: motr}\ntenants: {motor: {}}",
            "auth.tenant", "there is no tenant motr",
        ),
        (
            "auth: [{type: keys}, {type: jwt, issuer: 'https://id.example', audience: [a],"
            " tenant: {claim: org, map: {'7': motr}}}]\ntenants: {motor: {}}",
            "auth[1].tenant.map.7", "there is no tenant motr",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told(text: str, place: str, said: str) -> None:
    found = only_mistake(BASE + text)
    assert f"{place}: " in found
    assert said in found


def test_no_server_is_a_way_to_what_is_another_tenants() -> None:
    more = "transport: http, sharing: shared"
    cars, maps = (f"{{image: i, {more}, network: {{peers: [{each}]}}}}" for each in ("maps", "cars"))
    servers = f"servers: {{cars: {cars}, maps: {maps}}}\n"
    found = only_mistake(servers + "tenants: {b: {servers: [cars]}}")
    assert "servers.maps.network.peers[0]: is of the tenant b, and maps is not" in found
    read(servers + "tenants: {b: {servers: [cars, maps]}}")


def test_names_of_tenants_and_roles_are_read_alone(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(
        "tenants: {marine: {roles: {captain: {}}}}\nroles: {clerk: {}}\nservers: {x: {nonsense: 1}}\n"
    )
    assert declared_tenants(file) == ("default", "marine")
    assert declared_roles(file) == ("user", "admin", "clerk")
    assert declared_roles(file, "marine") == ("user", "admin", "clerk", "captain")
    file.write_text("roles: [1]\n")
    assert (declared_tenants(file), declared_roles(file, "marine")) == ((), ("user", "admin"))
