"""From claims to principals: what is read, what it becomes, and what refuses a token."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.errors import Unauthenticated
from tidegate.extensions.identity.claims import (
    LONGEST_ATTRIBUTE,
    LONGEST_WORD,
    MOST_WORDS,
    ClaimMapping,
    RoleMapping,
    TenantMapping,
    claim_path,
    look,
)

CLAIMS: dict[str, Any] = {
    "sub": "alice",
    "groups": ["grp-adjusters", "grp-all"],
    "realm_access": {"roles": ["reader", "admin", "user"]},
    "https://gw.example/roles": {"desk": {"org": 1}, "lead": {}},
    "memberships": [{"name": "a"}, {"name": "b"}, {"other": 1}],
    "limit": 500,
    "vip": False,
    "regions": ["eu", "us"],
    "region": "eu",
}


def of(claims: dict[str, Any] = CLAIMS, **mapping: Any) -> Any:
    return ClaimMapping(**mapping).principal("https://id.example", claims)


def roles(*paths: str, **mapping: Any) -> set[str]:
    return set(of(roles=RoleMapping(tuple(map(claim_path, paths)), **mapping)).roles)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sub", ("sub",)),
        ("realm_access.roles", ("realm_access", "roles")),
        (r"https://gw\.example/roles", ("https://gw.example/roles",)),
        (r"a\\.b", ("a\\", "b")),
        (r"a\.", ("a.",)),
        ("cognito:groups", ("cognito:groups",)),
    ],
)
def test_a_path_is_names_with_dots_between_them(text: str, path: tuple[str, ...]) -> None:
    assert claim_path(text) == path


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a\\", ".".join("abcdefghi")])
def test_what_is_no_path_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="should be the name of a claim"):
        claim_path(text)


def test_a_path_leads_through_mappings_and_lists() -> None:
    assert look(CLAIMS, ("realm_access", "roles")) == ["reader", "admin", "user"]
    assert look(CLAIMS, ("memberships", "name")) == ["a", "b"]
    assert look(CLAIMS, ("sub", "x")) is None
    assert look(CLAIMS, ("nothing", "x")) is None


def test_roles_are_those_that_words_are_mapped_to_and_no_other() -> None:
    words = {"grp-adjusters": ("adjuster", "user"), "admin": ("admin",)}
    assert roles("groups", map=words) == {"adjuster", "user"}
    assert roles("groups", "realm_access.roles", map=words) == {"adjuster", "user", "admin"}
    assert roles("groups", map={}) == set()
    assert roles(map=words, default=frozenset({"guest"})) == {"guest"}


def test_words_are_roles_where_none_are_mapped_but_for_those_that_mean_something_here() -> None:
    assert roles("realm_access.roles") == {"reader"}
    assert roles(r"https://gw\.example/roles") == {"desk", "lead"}
    assert roles("memberships.name", "region") == {"a", "b", "eu"}
    assert roles("realm_access.roles", default=frozenset({"user"})) == {"reader", "user"}


def test_a_star_stands_for_anything_without_a_slash() -> None:
    mapping = RoleMapping(map={"agents/*": ("agent",), "*/prod": ("prod",), "a.c": ("dot",)})
    assert mapping.roles(["agents/x"]) == {"agent"}
    assert mapping.roles(["agents/x/y", "agents", "xagents/x", "abc"]) == frozenset()
    assert mapping.roles(["agents/prod"]) == {"agent", "prod"}


def simply(pattern: str, word: str) -> bool:
    """Match a pattern in the obvious way, however long that takes."""
    first, star, rest = pattern.partition("*")
    if not star:
        return word == pattern
    if not word.startswith(first):
        return False
    word = word.removeprefix(first)
    ends = [at for at in range(len(word) + 1) if "/" not in word[:at]]
    return any(simply(rest, word[at:]) for at in ends)


@given(st.text("ab/*", max_size=8), st.text("ab/", max_size=10))
def test_patterns_match_what_they_say(pattern: str, word: str) -> None:
    roles = RoleMapping(map={pattern: ("r",)}).roles([word])
    assert bool(roles) is simply(pattern, word) or pattern == word


def test_no_name_makes_a_pattern_take_long() -> None:
    mapping = RoleMapping(map={"*a*a*a*a*a*a*a*a*a*a*b": ("r",)})
    began = time.process_time()
    assert not mapping.roles(["a" * LONGEST_WORD])  # looked at in every way, the sun would be gone first
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "groups", [["a", 7], 7, True, ["a", ["b"]], [""], ["x" * (LONGEST_WORD + 1)], ["a\nb"], ["a\u2028b"]]
)
def test_groups_that_are_no_names_refuse_the_token(groups: object) -> None:
    with pytest.raises(Unauthenticated, match="no name"):
        of({**CLAIMS, "groups": groups}, groups=(("groups",),))


def test_too_many_groups_refuse_the_token() -> None:
    many = [str(number) for number in range(MOST_WORDS)]
    assert len(of({**CLAIMS, "groups": many}, groups=(("groups",),)).groups) == MOST_WORDS
    with pytest.raises(Unauthenticated, match="more than"):
        of({**CLAIMS, "groups": [*many, "one"]}, groups=(("groups",),))


@pytest.mark.parametrize(
    "left_out",
    [
        {
            "_claim_names": {"groups": "src1"},
            "_claim_sources": {"src1": {"endpoint": "https://graph.example"}},
        },
        {"hasgroups": True},
        {"hasgroups": "true"},
    ],
)
def test_groups_that_the_issuer_left_out_refuse_the_token_where_they_are_read(
    left_out: dict[str, Any],
) -> None:
    claims = {name: value for name, value in CLAIMS.items() if name != "groups"} | left_out
    for mapping in (
        {"groups": (("groups",),)},
        {"roles": RoleMapping((("groups",),))},
        {"attributes": {"g": ("groups",)}},
    ):
        with pytest.raises(Unauthenticated, match="leaves out groups, since there are too many"):
            of(claims, **mapping)
    assert of(claims).subject == "alice"


@pytest.mark.parametrize("sub", [None, "", 7, ["alice"], "a\x00b", "x" * (LONGEST_WORD + 1)])
def test_a_token_about_nobody_is_refused(sub: object) -> None:
    with pytest.raises(Unauthenticated, match="whom it is about"):
        of({**CLAIMS, "sub": sub})


def test_the_subject_is_the_first_claim_that_is_there() -> None:
    assert of(subject=(("oid",), ("sub",))).subject == "alice"
    assert of({**CLAIMS, "oid": "17"}, subject=(("oid",), ("sub",))).subject == "17"
    with pytest.raises(Unauthenticated):
        of({**CLAIMS, "oid": ""}, subject=(("oid",), ("sub",)))


def test_the_tenant_is_a_name_or_what_a_claim_is_mapped_to() -> None:
    assert of().tenant == "default"
    assert of(tenant=TenantMapping("marine")).tenant == "marine"
    assert of(tenant=TenantMapping(claim=("region",))).tenant == "eu"
    assert of(tenant=TenantMapping(claim=("region",), map={"eu": "europe"})).tenant == "europe"


def test_nobody_is_of_the_home_tenant_by_the_name_of_an_organisation() -> None:
    """Its administrators are the operator's, and an issuer's customers may choose what they are called."""
    claims = {**CLAIMS, "org": "default", "namespace": "team"}
    with pytest.raises(Unauthenticated, match="tenant"):
        of(claims, tenant=TenantMapping(claim=("org",)))
    assert of(claims, tenant=TenantMapping(claim=("org",), map={"default": "default"})).tenant == "default"
    assert of(claims, tenant=TenantMapping(claim=("namespace",))).tenant == "team"


@pytest.mark.parametrize(
    "tenant",
    [
        TenantMapping(claim=("org",)),
        TenantMapping(claim=("limit",)),
        TenantMapping(claim=("regions",)),
        TenantMapping(claim=("region",), map={"us": "america"}),
        TenantMapping(claim=("odd",)),
    ],
)
def test_a_token_without_a_tenant_that_is_known_is_refused(tenant: TenantMapping) -> None:
    with pytest.raises(Unauthenticated, match="tenant"):
        of({**CLAIMS, "odd": "a/../b"}, tenant=tenant)


def test_attributes_are_plain_values_by_the_names_of_the_settings() -> None:
    paths = {
        "limit": ("limit",),
        "vip": ("vip",),
        "where": ("regions",),
        "region": ("region",),
        "no": ("no",),
    }
    assert dict(of(attributes=paths).attributes) == {
        "limit": 500, "vip": False, "where": ("eu", "us"), "region": "eu",
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [1.5, 2**63, {"a": 1}, [1], ["a", None], "x" * (LONGEST_ATTRIBUTE + 1), ["x" * 1500] * 2, "a\x1bb"],
)
def test_attributes_that_cannot_be_taken_refuse_the_token(value: object) -> None:
    with pytest.raises(Unauthenticated, match="attribute limit"):
        of({**CLAIMS, "limit": value}, attributes={"limit": ("limit",)})


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "a b  c"}, {"a", "b", "c"}),
        ({"scp": ["a", "b"]}, {"a", "b"}),
        ({"scope": "a", "scp": "b"}, {"a", "b"}),
        ({}, set()),
        ({"scope": ""}, set()),
    ],
)
def test_scopes_are_words_in_a_text_or_a_list(claims: dict[str, Any], scopes: set[str]) -> None:
    assert ClaimMapping().granted(claims) == scopes


def test_credentials_without_scopes_are_told_from_tokens_that_were_given_none() -> None:
    assert ClaimMapping(scopes=()).granted({"scope": "a"}) is None
    with pytest.raises(Unauthenticated):
        ClaimMapping().granted({"scope": 7})


@pytest.mark.parametrize(
    ("claims", "client"),
    [
        ({"client_id": "a", "azp": "b"}, "a"),
        ({"azp": "b"}, "b"),
        ({"cid": "c"}, "c"),
        ({"appid": "d"}, "d"),
        ({}, ""),
        ({"client_id": 7, "azp": "b"}, "b"),
    ],
)
def test_the_client_is_named_as_issuers_name_it(claims: dict[str, Any], client: str) -> None:
    assert of({**CLAIMS, **claims}).client == client


@pytest.mark.parametrize("client", ["a\nb", "x" * (LONGEST_WORD + 1)])
def test_a_client_whose_name_cannot_be_taken_is_not_one_without_a_name(client: str) -> None:
    """Else an agent that may choose its name at the issuer could neither be stopped nor be counted as what it is."""
    with pytest.raises(Unauthenticated, match="names its client"):
        of({**CLAIMS, "client_id": client})
