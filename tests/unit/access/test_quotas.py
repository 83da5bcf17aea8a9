"""Quotas: which calls count together, all quotas or none, what is told, and what stays over a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.access.quotas import Quotas, leave
from tidegate.access.rates import AtOnce, Bucket, Table
from tidegate.domain.errors import LimitExceeded
from tidegate.domain.principal import Principal
from tidegate.domain.quota import Per, Quota
from tidegate.domain.target import Kind, Target
from tidegate.testing.clock import VirtualClock

PAY, GET = Target("claims", Kind.TOOL, "pay"), Target("claims", Kind.TOOL, "get")
SCAN = Target("ocr", Kind.TOOL, "scan")


def who(name: str, *roles: str, tenant: str = "t", client: str = "") -> Principal:
    return Principal(tenant, "test", name, frozenset(roles or ("user",)), client=client)


ANN, BEN = who("ann"), who("ben")


class Limited:
    """Quotas and a clock."""

    def __init__(self, *quotas: Quota) -> None:
        self.clock = VirtualClock()
        self.quotas = Quotas(quotas, clock=self.clock, now=self.clock)

    def ask(self, principal: Principal = ANN, target: Target = PAY, at: str = "/mcp") -> Sequence[AtOnce]:
        return self.quotas.admit(principal, at, target)

    def many(self, count: int, principal: Principal = ANN, target: Target = PAY, at: str = "/mcp") -> int:
        """Give how many of so many get through."""
        for number in range(count):
            try:
                self.ask(principal, target, at)
            except LimitExceeded:
                return number
        return count


def rate(calls: int, *per: Per, burst: int | None = None, name: str = "q", **more: Any) -> Quota:
    return Quota(name, per, calls, "min", burst or calls, **more)


def test_each_principal_has_its_own() -> None:
    limited = Limited(rate(3, Per.PRINCIPAL))
    assert [limited.many(5), limited.many(5, BEN)] == [3, 3]
    limited.clock.advance(20.0)
    assert limited.many(5) == 1


@pytest.mark.parametrize(
    ("per", "other"),
    [
        ((), (BEN, SCAN, "/other")),
        ((Per.TENANT,), (BEN, SCAN, "/other")),
        ((Per.TOOL,), (BEN, PAY, "/other")),
        ((Per.SERVER,), (BEN, GET, "/other")),
        ((Per.ENDPOINT,), (BEN, SCAN, "/mcp")),
        ((Per.PRINCIPAL,), (ANN, SCAN, "/other")),
        ((Per.PRINCIPAL, Per.TOOL), (ANN, PAY, "/other")),
    ],
)
def test_what_is_the_same_counts_together(per: tuple[Per, ...], other: tuple[Principal, Target, str]) -> None:
    limited = Limited(rate(3, *per))
    assert limited.many(2) == 2
    assert limited.many(5, *other) == 1


@pytest.mark.parametrize(
    ("per", "other"),
    [
        ((Per.TENANT,), (who("ann", tenant="u"), PAY, "/mcp")),
        ((Per.TOOL,), (ANN, GET, "/mcp")),
        ((Per.SERVER,), (ANN, SCAN, "/mcp")),
        ((Per.ENDPOINT,), (ANN, PAY, "/other")),
        ((Per.PRINCIPAL, Per.TOOL), (BEN, PAY, "/mcp")),
        ((Per.CLIENT,), (BEN, PAY, "/mcp")),
    ],
)
def test_what_differs_counts_by_itself(per: tuple[Per, ...], other: tuple[Principal, Target, str]) -> None:
    limited = Limited(rate(3, *per))
    assert limited.many(3) == 3
    assert limited.many(5, *other) == 3


def test_an_agent_counts_together_whoever_it_asks_for() -> None:
    limited = Limited(rate(3, Per.CLIENT))
    assert limited.many(2, who("ann", client="agent")) == 2
    assert limited.many(2, who("ben", client="agent")) == 1


def test_resources_count_together_and_not_each_by_its_uri() -> None:
    limited = Limited(rate(3, Per.TOOL))
    uris = [Target("claims", Kind.RESOURCE, f"claims://{number}") for number in range(5)]
    assert sum(limited.many(1, ANN, each) for each in uris) == 3
    assert limited.many(5, ANN, PAY) == 3


@pytest.mark.parametrize(
    "selected",
    [{"roles": frozenset({"admin"})}, {"tenants": ("u*",)}, {"endpoints": ("/o*",)}, {"servers": ("ocr",)},
     {"tools": ("claims__g*",)}],
)  # fmt: skip
def test_what_is_not_selected_does_not_count(selected: dict[str, Any]) -> None:
    assert Limited(rate(1, Per.PRINCIPAL, **selected)).many(9) == 9


@pytest.mark.parametrize(
    "selected",
    [{"roles": frozenset({"user", "x"})}, {"tenants": ("t*",)}, {"endpoints": ("/mcp",)}, {"servers": ("cl*",)},
     {"tools": ("claims__p*",)}],
)  # fmt: skip
def test_what_is_selected_counts(selected: dict[str, Any]) -> None:
    assert Limited(rate(1, Per.PRINCIPAL, **selected)).many(9) == 1


def test_a_tools_quota_does_not_count_what_is_no_tool() -> None:
    limited = Limited(rate(1, tools=("*",)))
    assert limited.many(3, ANN, Target("claims", Kind.PROMPT, "pay")) == 3


def test_a_refusal_says_which_limit_and_when_and_is_counted() -> None:
    limited = Limited(rate(6, Per.PRINCIPAL, burst=1, name="few"), rate(1, name="one"))
    limited.ask()
    with pytest.raises(LimitExceeded) as caught:
        limited.ask()
    assert caught.value.data == {"retryAfter": 60, "limit": "one"}
    assert "1/min" in str(caught.value)
    assert caught.value.target == PAY
    assert limited.quotas.refused == {"one": 1}
    limited.clock.advance(60)
    limited.ask()


def test_a_call_that_one_quota_refuses_counts_in_none() -> None:
    limited = Limited(rate(5, Per.PRINCIPAL, name="a"), rate(1, Per.TOOL, name="b"), Quota("c", at_once=5))
    assert limited.many(4) == 1
    assert limited.many(9, ANN, GET) == 1
    assert [used for _, told in limited.quotas.told(9) for _, used, _ in told] == [2, 1, 1, 2]


@given(st.lists(st.tuples(st.sampled_from([ANN, BEN]), st.sampled_from([PAY, GET, SCAN]), st.floats(0, 9))))
def test_what_is_used_is_what_got_through(calls: list[tuple[Principal, Target, float]]) -> None:
    slow: dict[str, Any] = {"period": "h", "burst": 4}
    limited = Limited(
        Quota("p", (Per.PRINCIPAL,), 1, **slow),
        Quota("t", (Per.TOOL,), 1, **slow),
        Quota("n", (Per.SERVER,), at_once=3),
    )
    through = 0
    for principal, target, pause in calls:
        limited.clock.advance(pause)
        try:
            through += bool(limited.ask(principal, target))
        except LimitExceeded:
            continue
    sums = [sum(used for _, used, _ in told) for _, told in limited.quotas.told(99)]
    assert sums[2] == through
    assert all(each <= through + 1e-9 for each in sums)


def test_places_are_given_back() -> None:
    limited = Limited(Quota("q", (Per.PRINCIPAL,), at_once=2))
    first, _ = limited.ask(), limited.ask()
    assert limited.many(1) == 0
    assert limited.many(1, BEN) == 1
    leave(first)
    assert limited.many(2) == 1


def test_what_goes_on_with_a_call_takes_a_place_and_is_no_further_call() -> None:
    limited = Limited(rate(1), Quota("q", at_once=2))
    limited.ask()
    places = limited.quotas.admit(ANN, "/mcp", PAY, again=True)
    with pytest.raises(LimitExceeded) as caught:
        limited.quotas.admit(ANN, "/mcp", PAY, again=True)
    assert caught.value.data == {"retryAfter": 1, "limit": "q"}
    leave(places)
    limited.quotas.admit(ANN, "/mcp", PAY, again=True)


def test_what_is_used_stays_over_a_change() -> None:
    limited = Limited(rate(4, Per.PRINCIPAL), Quota("n", at_once=3))
    places = limited.ask()
    limited.ask()
    limited.quotas.change([rate(3, Per.PRINCIPAL), Quota("n", at_once=2)])
    assert limited.many(1) == 0
    leave(places)
    assert limited.many(2) == 1
    limited.quotas.change([])
    assert not limited.quotas.any
    assert limited.many(9) == 9


def test_what_is_of_another_kind_begins_anew() -> None:
    limited = Limited(rate(2))
    assert limited.many(2) == 2
    limited.quotas.change([rate(2, Per.TOOL)])
    assert limited.many(9) == 2


def test_where_keys_are_forgotten_nobody_counts_in_what_is_gone() -> None:
    limited = Limited(rate(2, Per.PRINCIPAL))
    (in_force,) = limited.quotas.in_force
    in_force.buckets = Table(lambda of: Bucket(in_force.rate, of), most=200)
    limited.ask()
    gone = dict(in_force.buckets.uses)
    for number in range(300):
        limited.ask(who(f"p{number}"))
    assert not gone.keys() & in_force.buckets.uses.keys()
    assert limited.many(9) == 2
    assert limited.many(9) == 0
