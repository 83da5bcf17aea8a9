"""What a document is made of: its modules, however far, and the data that they read."""

from __future__ import annotations

from typing import Any

from tests.servers.documented_opa import tree
from tidegate.extensions.policies.opa.reach import reach

ROOT = ("tidegate", "authz")


def test_modules_are_reached_by_what_they_refer_to_and_others_are_not() -> None:
    trees = [
        tree("tidegate/authz", "data.lib.roles.has", "input.principal.roles"),
        tree("lib/roles", "data.grants.users", rules=("has",)),
        tree("other", "data.secret", rules=("x",)),
        tree("tidegate/authz", "data.limits"),
    ]
    found = reach(trees, [ROOT])
    assert found.modules == {0, 1, 3}
    assert found.rules == {"allow", "reads"}
    assert found.data == {("grants", "users"), ("limits",)}
    assert not found.computed


def test_a_batch_of_another_package_is_made_of_what_it_refers_to() -> None:
    trees = [
        tree("tidegate/many", "data.tidegate.authz", rules=("decisions",)),
        tree("tidegate/authz", "data.grants"),
    ]
    found = reach(trees, [ROOT, ("tidegate", "many", "decisions")])
    assert found.modules == {0, 1}
    assert found.data == {("grants",)}


def test_data_beside_the_rules_of_a_package_is_data() -> None:
    trees = [tree("tidegate/authz", "data.lib.table", "data.lib.has"), tree("lib", rules=("has",))]
    assert reach(trees, [ROOT]).data == {("lib", "table")}


def test_a_document_that_is_read_by_computed_keys_is_followed_from_where_they_begin() -> None:
    assert reach([tree("tidegate/authz", "data.grants.?.limit")], [ROOT]).data == {("grants",)}
    assert reach([tree("tidegate/authz", "data.?.limit")], [ROOT]).computed


def test_what_changes_by_itself_and_arguments_are_noted() -> None:
    found = reach(
        [tree("tidegate/authz", "time.now_ns", "http.send", "input.arguments.x", "json.marshal")], [ROOT]
    )
    assert found.outside == {"time.now_ns", "http.send"}
    assert found.arguments
    assert not reach([tree("tidegate/authz", "input.target.name")], [ROOT]).arguments
    assert reach([tree("tidegate/authz", "input.?")], [ROOT]).arguments


def test_odd_trees_are_read_as_far_as_they_go() -> None:
    odds: list[Any] = [None, [], {}, {"package": None}, {"package": {"path": "x"}, "rules": [{"head": None}]}]
    for odd in odds:
        found = reach([odd], [ROOT])
        assert not found.computed
