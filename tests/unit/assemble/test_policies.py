"""Policies over reloads and beside them: what stays the same stays open, what is wrong changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec import Raw

from tidegate.assemble.policies import Policies, open_policies
from tidegate.assemble.policy_changes import PolicyChange, keep
from tidegate.audit.journal import Journal
from tidegate.domain.errors import SettingsError
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.cedar import CedarSettings
from tidegate.gateway.definitions import Definition, Definitions, Delta, Listed
from tidegate.gateway.facts import facts_of
from tidegate.ports.extension import Surroundings
from tidegate.ports.facts import Facts
from tidegate.ports.policy import Policy
from tidegate.protocol.codec import decode_object, encode
from tidegate.settings.policies import PolicySettings

ALLOW = "permit(principal, action, resource);\n"
DENY = "forbid(principal, action, resource);\n"
READ_ONLY = "permit(principal, action, resource) when { resource is Tool && resource.readOnly };\n"
GET = Target("claims", Kind.TOOL, "get")


class Heard:
    def __init__(self) -> None:
        self.changes: list[PolicyChange] = []

    def __call__(self, change: PolicyChange) -> None:
        self.changes.append(change)

    @property
    def said(self) -> list[tuple[str, Sequence[str]]]:
        """Which policy was changed beside the settings, and what was wrong with it."""
        return [(each.policy, each.problems) for each in self.changes if each.by != "settings"]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def policies(tmp_path: Path, heard: Heard) -> AsyncIterator[Policies]:
    made = Policies(Surroundings(tmp_path, "0" * 16), heard)
    yield made
    await made.close()
    assert made.engines == ()


@pytest.fixture
def entry(tmp_path: Path) -> PolicySettings:
    (tmp_path / "a.cedar").write_text(ALLOW)
    return PolicySettings("cedar", CedarSettings(files=(tmp_path / "*.cedar",)))


async def allowed(policy: Policy, target: Target = GET) -> bool | None:
    (verdict,) = await policy.decide(Principal("default", "key", "alice"), "/mcp", [target])
    return verdict.allowed


async def take(policies: Policies, *entries: PolicySettings) -> None:
    async with policies.prepared(entries) as prepared:
        policies.adopt(prepared)


def definitions(annotations: object = None, **fields: object) -> Definitions:
    more = {} if annotations is None else {"annotations": annotations}
    tool = Definition("get", decode_object(encode({"name": "get", **more, **fields})))
    return Definitions({Kind.TOOL: Listed((tool,))})


async def test_an_entry_that_stays_the_same_stays_open(policies: Policies, entry: PolicySettings) -> None:
    await take(policies, entry)
    (first,) = policies.engines
    other = PolicySettings("cedar", CedarSettings(files=entry.settings.files, attributes={"a": "text"}))  # type: ignore[attr-defined]
    await take(policies, entry, other)
    assert policies.engines[0] is first
    assert len(policies.engines) == 2
    await take(policies, other)
    assert first not in policies.engines


async def test_nothing_is_in_force_before_it_is_adopted(policies: Policies, entry: PolicySettings) -> None:
    async with policies.prepared([entry]):
        assert policies.engines == ()
    assert policies.engines == ()


async def test_a_reload_with_wrong_policies_is_refused_and_changes_nothing(
    policies: Policies, entry: PolicySettings, tmp_path: Path
) -> None:
    await take(policies, entry)
    (tmp_path / "a.cedar").write_text(DENY + "permit(")
    with pytest.raises(SettingsError, match=r"a\.cedar:2"):
        await take(policies, entry)
    assert await allowed(policies.engines[0]) is True


async def test_a_reload_takes_files_that_have_changed(
    policies: Policies, entry: PolicySettings, tmp_path: Path, heard: Heard
) -> None:
    await take(policies, entry)
    (tmp_path / "a.cedar").write_text(DENY)
    await take(policies, entry)
    assert await allowed(policies.engines[0]) is False
    assert heard.said == [("cedar", ())]


async def test_a_changed_file_is_taken_once_it_rests(
    policies: Policies, entry: PolicySettings, tmp_path: Path, heard: Heard
) -> None:
    await take(policies, entry)
    while not await policies.look():
        pass
    (tmp_path / "b.cedar").write_text(DENY)
    assert not await policies.look()
    assert await policies.look()
    assert await allowed(policies.engines[0]) is False
    assert heard.said == [("cedar", ())]


async def test_a_file_that_becomes_wrong_is_told_of_once_and_changes_nothing(
    policies: Policies, entry: PolicySettings, tmp_path: Path, heard: Heard
) -> None:
    await take(policies, entry)
    (tmp_path / "a.cedar").write_text("permit(")
    for _ in range(6):
        await policies.look()
    assert await allowed(policies.engines[0]) is True
    assert heard.said == [("cedar", ["a.cedar:1: unexpected end of input"])]
    (tmp_path / "a.cedar").write_text(DENY)
    for _ in range(3):
        await policies.look()
    assert await allowed(policies.engines[0]) is False


async def test_each_change_is_recorded_with_the_digests_of_what_was_and_is(
    entry: PolicySettings, tmp_path: Path
) -> None:
    journal = Journal.open(tmp_path / "journal", key=bytes(32), writer="w", clock=lambda: 1.0)
    policies = Policies(Surroundings(tmp_path, "0" * 16), keep(journal))
    await take(policies, entry)
    (tmp_path / "b.cedar").write_text(DENY)
    while len(policies.engines[0].in_force) < 2:  # type: ignore[attr-defined]
        await policies.look()
    (tmp_path / "b.cedar").write_text("forbid(")
    for _ in range(4):
        await policies.look()
    (tmp_path / "b.cedar").unlink()
    await take(policies, entry)
    await take(policies, entry)
    await policies.close()
    journal.close()
    lines = b"".join(each.read_bytes() for each in (tmp_path / "journal").glob("*.jsonl"))
    records = [json.loads(line) for line in lines.splitlines()]
    found = [each["data"] for each in records if each["kind"] == "gateway"]
    assert [(each["event"], each["by"], each.get("problems")) for each in found] == [
        ("policy_changed", "settings", None),
        ("policy_changed", "file", None),
        ("policy_refused", "file", 1),
        ("policy_changed", "reload", None),
    ]
    a, b, wrong = (sha256(text.encode()).hexdigest() for text in (ALLOW, DENY, "forbid("))
    assert [each["files"] for each in found] == [
        {"a.cedar": ["", a]}, {"b.cedar": ["", b]}, {"b.cedar": [b, wrong]}, {"b.cedar": [b, ""]},
    ]  # fmt: skip
    first, second, refused, last = found
    assert (first["before"], second["before"]) == ("", first["after"])
    assert refused["before"] == second["after"] == last["before"]
    assert last["after"] == first["after"]


async def test_it_is_followed_until_it_is_closed(
    policies: Policies, entry: PolicySettings, tmp_path: Path
) -> None:
    await take(policies, entry)
    known: dict[str, Definitions] = {}
    task = asyncio.create_task(policies.follow(lambda: known, lambda: True))
    try:
        (tmp_path / "a.cedar").write_text(READ_ONLY)
        async with asyncio.timeout(20):
            while await allowed(policies.engines[0]) is not None:
                await asyncio.sleep(0.01)
            known["claims"] = definitions({"readOnlyHint": True})
            while await allowed(policies.engines[0]) is not True:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_servers_say_is_told_to_those_that_are_opened_later_too(
    policies: Policies, entry: PolicySettings, tmp_path: Path
) -> None:
    (tmp_path / "a.cedar").write_text(READ_ONLY)
    await policies.learn({"claims": definitions({"readOnlyHint": True})})
    await take(policies, entry)
    assert await allowed(policies.engines[0]) is True
    await policies.learn({"claims": definitions({"readOnlyHint": False})})
    assert await allowed(policies.engines[0]) is None
    await policies.learn({})
    assert await allowed(policies.engines[0]) is None


async def test_what_is_odd_about_policies_by_what_servers_list_is_told_once(
    policies: Policies, tmp_path: Path, entry: PolicySettings, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.cedar").write_text('permit(principal, action == Action::"claims__gte", resource);')
    await take(policies, entry)
    await policies.review()
    assert "policy.doubtful" not in "".join(capfd.readouterr())
    assert await policies.learn({"claims": definitions()})
    assert not await policies.learn({"claims": definitions()})
    await policies.review()
    told = "".join(capfd.readouterr())
    assert "policy.doubtful" in told
    assert "a.cedar:1: claims lists no gte" in told
    await policies.review()
    assert "policy.doubtful" not in "".join(capfd.readouterr())


async def test_a_command_has_them_without_following_them(entry: PolicySettings, tmp_path: Path) -> None:
    async with open_policies([entry], Surroundings(tmp_path, "0" * 16)) as (policy,):
        assert await allowed(policy) is True


HINTS = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}


@pytest.mark.parametrize(
    ("annotations", "facts"),
    [
        (None, Facts()),
        ({}, Facts()),
        (HINTS, Facts(True, False, True, False)),
        ({"readOnlyHint": "true", "destructiveHint": 0, "title": "x"}, Facts()),
        ([], Facts()),
        ("x", Facts()),
    ],
)
def test_what_a_tool_does_not_say_rightly_is_taken_to_be_the_worse(annotations: object, facts: Facts) -> None:
    assert facts_of("claims", definitions(annotations)) == {GET: facts}


def test_a_tools_schema_is_its_servers_and_a_prompts_arguments_are_texts() -> None:
    tool = definitions(inputSchema={"type": "object"})
    assert facts_of("claims", tool)[GET].schema == b'{"type":"object"}'
    fields = {"name": "p", "arguments": [{"name": "tone"}, {"name": 5}, "x", {}]}
    prompt = Definitions({Kind.PROMPT: Listed((Definition("p", decode_object(encode(fields))),))})
    schema = facts_of("claims", prompt)[Target("claims", Kind.PROMPT, "p")].schema
    assert bytes(decode_object(Raw(schema))["properties"]) == b'{"tone":{"type":"string"}}'


def test_of_what_a_server_says_to_some_otherwise_the_more_careful_holds() -> None:
    tool = Definition("get", decode_object(encode({"name": "get", "annotations": {"readOnlyHint": False}})))
    common = definitions(HINTS, inputSchema={"type": "object"})
    both = Definitions(common.lists, offers={"all": {Kind.TOOL: Delta((tool,))}})
    assert facts_of("claims", both) == {GET: Facts()}
