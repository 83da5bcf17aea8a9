"""Roles, rules and scopes in the settings: free names, known ones in the mistakes, nothing open beside them."""

from __future__ import annotations

import pytest

from tests.unit.settings.given import only_mistake, read
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule, Scope, Selection
from tidegate.domain.role import Grant, Role

SERVERS = "servers: {claims: {package: 'pypi:t==1'}}\n"
DEFAULT = EndpointSpec("", ()).rules


def test_a_role_has_grants_and_includes_others() -> None:
    settings = read(
        SERVERS
        + """
endpoints: {/claims: {}, /mcp/: {}}
roles:
  adjuster:
    includes: [user, clerk]
    allow: [{endpoints: [/claims], servers: [claims], tools: [get_*]}, {prompts: [p], resources: ["claims://*"]}]
    deny: [{tools: [get_secret]}]
  clerk:
  team@example.com: {allow: [{}]}
"""
    )
    allow, deny = Effect.ALLOW, Effect.DENY
    assert settings.roles == (
        Role("adjuster", ("user", "clerk"), (
            Grant(allow, 0, ("/claims",), Selection(("claims",), ("get_*",))),
            Grant(allow, 1, (), Selection(prompts=("p",), resources=("claims://*",))),
            Grant(deny, 0, (), Selection(tools=("get_secret",))),
        )),
        Role("clerk"),
        Role("team@example.com", (), (Grant(allow, 0),)),
    )  # fmt: skip


def test_nothing_is_open_where_the_file_says_anything_of_rights() -> None:
    (open_,) = read(SERVERS).endpoints
    assert open_.rules == DEFAULT
    for said in ("roles: {a: {allow: [{}]}}", "roles: {}"):
        (closed,) = read(SERVERS + said).endpoints
        assert closed.rules == ()
    ruled = read(SERVERS + "roles: {a: {}}\nendpoints: {/a: {rules: [{allow: {roles: [a]}}]}, /b: {}}")
    assert [each.rules for each in ruled.endpoints] == [(Rule(Effect.ALLOW, frozenset({"a"})),), ()]


def test_an_endpoint_has_scopes_in_the_order_of_the_file() -> None:
    settings = read(
        SERVERS
        + "endpoints: {/a: {scopes: {'claims:read': {servers: [claims], tools: [get*]}, 'claims:all': {}}}}"
    )
    (endpoint,) = settings.endpoints
    assert endpoint.scopes == (
        Scope("claims:read", Selection(("claims",), ("get*",))),
        Scope("claims:all", Selection()),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("roles: {a: {includes: [clrk]}, clerk: {}}", "roles.a.includes[0]: there is no role clrk; did you mean clerk? (known: a, admin, clerk, user)"),
        ("roles: {a: {includes: [admin]}}", "roles.a.includes[0]: admin administers the gateway"),
        ("roles: {a: {includes: [a]}}", "roles.a.includes[0]: goes in a circle: a includes a"),
        ("roles: {'a b': {}}", "is no name for a role: at most 64 of letters"),
        ("roles: {a: {allow: [{servers: [clams]}]}}", "roles.a.allow[0].servers[0]: there is no server clams; did you mean claims?"),
        ("roles: {a: {deny: [{endpoints: [/clams]}]}}\nendpoints: {/claims/: {}}", "roles.a.deny[0].endpoints[0]: no endpoint is /clams; did you mean /claims?"),
        ("roles: {a: {allow: [{endpoints: [claims]}]}}", "should be the path of an endpoint or a pattern of one"),
        ("roles: {a: {allow: {}}}", "roles.a.allow: should be a list"),
        ("roles: {a: {grant: []}}", "roles.a.grant: is no known key"),
        ("roles: {a: {}}\nendpoints: {/a: {rules: [{allow: {roles: [b]}}]}}", "endpoints./a.rules[0].allow.roles[0]: there is no role b (known: a, admin, user)"),
        ("endpoints: {/a: {scopes: {'a b': {}}}}", "is no scope"),
        ("endpoints: {/a: {scopes: {s: {servers: [clams]}}}}", "endpoints./a.scopes.s.servers[0]: there is no server clams"),
    ],
)  # fmt: skip
def test_a_mistake_in_roles_is_told_with_the_known_names(text: str, said: str) -> None:
    found = only_mistake(SERVERS + text)
    assert said in found


def test_a_longer_circle_is_told_from_each_role_in_it() -> None:
    from tests.unit.settings.given import mistakes

    found = mistakes(
        SERVERS + "roles: {a: {includes: [b]}, b: {includes: [c]}, c: {includes: [a]}, d: {includes: [a]}}"
    )
    assert [line.split(": ", 2)[2] for line in found] == [
        f"goes in a circle: {way}"
        for way in (
            "a includes b includes c includes a",
            "b includes c includes a includes b",
            "c includes a includes b includes c",
        )
    ]
