"""Quotas in the settings: what they mean, their names, and what does not go together."""

from __future__ import annotations

import pytest

from tests.unit.settings.given import mistakes, only_mistake, read
from tidegate.domain.quota import Per, Quota

SERVERS = "servers: {claims: {package: 'pypi:t==1'}, ocr: {package: 'pypi:t==1'}}\n"


def test_a_quota_is_a_rate_a_budget_of_days_or_a_number_at_once() -> None:
    settings = read(
        SERVERS
        + """
endpoints: {/claims/: {}}
roles: {clerk: {}}
quotas:
  - {per: principal, calls: 100/min, burst: 20}
  - {per: [tool, principal], tools: [claims__pay], calls: 10/hour, roles: [clerk], tenants: [marine]}
  - {per: tenant, calls: 10000/day, zone: Europe/Berlin, when_unknown: allow, name: marine.day}
  - {per: principal, at_once: 8, servers: ["oc*"], endpoints: [/claims]}
  - {per: all, calls: 5/s}
"""
    )
    assert settings.quotas == (
        Quota("principal-min", (Per.PRINCIPAL,), 100, "min", 20),
        Quota(
            "principal-tool-h", (Per.PRINCIPAL, Per.TOOL), 10, "h", 10, roles=frozenset({"clerk"}),
            tenants=("marine",), tools=("claims__pay",),
        ),
        Quota("marine.day", (Per.TENANT,), 10000, "day", zone="Europe/Berlin", closed=False),
        Quota("principal-at-once", (Per.PRINCIPAL,), at_once=8, servers=("oc*",), endpoints=("/claims",)),
        Quota("all-s", (), 5, "s", 5),
    )  # fmt: skip
    assert [each.words for each in settings.quotas] == [
        "100/min, burst 20",
        "10/h",
        "10000/day (Europe/Berlin)",
        "8 at once",
        "5/s",
    ]


def test_each_quota_has_a_name_of_its_own() -> None:
    settings = read(
        "quotas: [{per: all, calls: 1/s}, {per: all, calls: 2/s}, {per: all, calls: 3/s, name: all-s-2}]"
    )
    assert [each.name for each in settings.quotas] == ["all-s", "all-s-3", "all-s-2"]


def test_there_are_none_where_none_are_declared() -> None:
    assert read("version: 1").quotas == read("quotas:").quotas == ()


@pytest.mark.parametrize(
    ("quota", "said"),
    [
        ("{per: all}", "exactly one of calls and at_once"),
        ("{per: all, calls: 1/s, at_once: 2}", "exactly one of calls and at_once"),
        ("{per: all, at_once: 2, burst: 3}", "burst: goes with calls in a second"),
        ("{per: all, calls: 2/day, burst: 3}", "burst: goes with calls in a second"),
        ("{per: all, calls: 2/h, zone: UTC}", "zone: goes with calls in a day only"),
        ("{per: all, at_once: 2, when_unknown: allow}", "when_unknown: goes with calls in a day only"),
        ("{per: all, calls: 0/s}", "should be a number of calls in a time"),
        ("{per: all, calls: 3/week}", "should be a number of calls in a time"),
        ("{per: all, calls: 3/day, zone: Mars/Olympus}", "is no time zone known here"),
        ("{per: [tool, tool], calls: 3/s}", "names one thing twice"),
        ("{per: all, calls: 3/s, servers: [clam]}", "there is no server clam; did you mean claims?"),
        ("{per: all, calls: 3/s, endpoints: [/other]}", "there is no endpoint /other"),
        ("{per: all, calls: 3/s, roles: [boss]}", "there is no role boss"),
        ("{per: all, calls: 3/s, name: Ä}", "should be a name"),
    ],
)
def test_what_cannot_be_is_said_where_it_stands(quota: str, said: str) -> None:
    found = only_mistake(SERVERS + f"quotas:\n  - {quota}\n")
    assert said in found
    assert "quotas[0]" in found


def test_a_name_is_given_once_and_per_is_said() -> None:
    found = mistakes(
        "quotas: [{per: all, calls: 1/s, name: a}, {per: who, calls: 1/s, name: a}, {calls: 1/s}]"
    )
    assert any("is the name of another quota already" in each for each in found)
    assert any("quotas[1].per" in each for each in found)
    assert any("quotas[2].per" in each for each in found)
