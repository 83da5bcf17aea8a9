"""What is told of an OPA by `tidegate policy check`, and of policies in force that are odd."""

from __future__ import annotations

import pytest

from tests.servers.documented_opa import DocumentedOpa, tree
from tests.unit.extensions.policies.opa.conftest import PATH, Open
from tidegate.domain.errors import SettingsError
from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.opa import OpaSettings
from tidegate.extensions.policies.opa.offline import check

TOOLS = [Target("claims", Kind.TOOL, "get"), Target("claims", Kind.TOOL, "pay")]


def settings(opa: DocumentedOpa, **more: object) -> OpaSettings:
    return OpaSettings.model_validate({"url": opa.address, "path": PATH, **more})


async def test_what_answers_as_agreed_is_right_and_is_asked_about_what_servers_list(
    opa: DocumentedOpa,
) -> None:
    name, notes = await check(settings(opa), TOOLS)
    assert name == f"opa {opa.address} {PATH}"
    assert notes == []
    assert [each["target"]["name"] for each in opa.inputs][:2] == ["get", "pay"]


async def test_a_batch_that_says_something_else_than_each_alone_is_a_mistake(opa: DocumentedOpa) -> None:
    opa.documents["many"] = lambda given: [{"allow": each["name"] == "get"} for each in given["targets"]]
    with pytest.raises(SettingsError, match=f"many says something else of claims__pay than {PATH}"):
        await check(settings(opa, batch="many"), TOOLS)


async def test_what_is_not_there_is_a_mistake(opa: DocumentedOpa) -> None:
    with pytest.raises(SettingsError, match="there is nothing at this path"):
        await check(settings(opa, path="none"), TOOLS)


async def test_what_changes_by_itself_is_noted_unless_a_revision_stands_for_it(opa: DocumentedOpa) -> None:
    opa.policies["authz.rego"] = ("package tidegate.authz", tree(PATH, "time.now_ns"))
    opa.documents["revision"] = lambda _: 1
    _, (note,) = await check(settings(opa), TOOLS)
    assert "time.now_ns" in note
    assert (await check(settings(opa, revision="revision"), TOOLS))[1] == []


async def test_policies_in_force_are_reviewed(opa: DocumentedOpa, opened: Open) -> None:
    policy = await opened()
    assert await policy.review() == []
    opa.policies["authz.rego"] = ("package tidegate.authz", tree(PATH, rules=("alow",)))
    (note,) = await policy.review()
    assert note.startswith("it has none of the rules allow, deny")
    opa.token = "wanted now"
    assert await policy.review() == ()
