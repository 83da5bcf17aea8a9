"""The engine as the gateway has it: over files, off the loop, followed as they change."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest
from pydantic import ValidationError

from tests.unit.extensions.policies.cedar.parts import PAY, principal, tool
from tidegate.domain.errors import SettingsError
from tidegate.domain.target import Kind, Target
from tidegate.extensions import table
from tidegate.extensions.policies.cedar import CedarSettings, open_cedar
from tidegate.extensions.policies.cedar.files import Files
from tidegate.extensions.policies.cedar.policy import CedarPolicy
from tidegate.ports.extension import Surroundings
from tidegate.ports.facts import Facts, Followed, Informed

ALLOW = "permit(principal, action, resource);\n"
DENY = "forbid(principal, action, resource);\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.cedar"
    path.write_text(ALLOW)
    return path


def made(path, **attributes) -> CedarPolicy:
    return CedarPolicy("cedar", Files([path]), attributes)


async def allowed(policy: CedarPolicy, *targets: Target) -> list[bool | None]:
    return [each.allowed for each in await policy.decide(principal(), "/mcp", targets or (PAY,))]


async def test_it_is_found_by_its_name_and_opened_over_its_files(file):
    extension = table.resolve("policies", "cedar")
    settings = extension.settings(files=[file.parent / "*.cedar"], attributes={"region": "text"})
    async with extension.open(settings, Surroundings(file.parent, "0" * 16)) as policy:
        assert policy.name == "cedar"
        assert isinstance(policy, Informed)
        assert isinstance(policy, Followed)
        assert await allowed(policy) == [True]


def test_nothing_of_cedar_is_imported_before_it_is_opened():
    code = (
        "import sys; from tidegate.extensions import table; table.settings_model('policies', 'cedar');"
        "print('cedarpy' in sys.modules, 'asyncio.tasks' in sys.modules)"
    )
    import subprocess

    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout.split()[0] == "False"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"files": []},
        {"files": ["a.cedar"], "other": 1},
        {"files": ["a.cedar"], "attributes": {"subject": "text"}},
        {"files": ["a.cedar"], "attributes": {"a": "float"}},
    ],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ValidationError):
        CedarSettings.model_validate(settings)


async def test_a_pattern_that_fits_no_file_is_a_mistake(tmp_path):
    settings = CedarSettings(files=(tmp_path / "*.cedar",))
    with pytest.raises(SettingsError, match="no such file"):
        async with open_cedar(settings, Surroundings(tmp_path, "0" * 16)):
            pass


def test_files_that_are_none_or_no_text_are_refused(tmp_path):
    (tmp_path / "d.cedar").mkdir()
    with pytest.raises(SettingsError, match="no file"):
        Files([tmp_path / "d.cedar"]).read()
    os.mkfifo(tmp_path / "f.cedar")
    with pytest.raises(SettingsError, match="no file"):
        Files([tmp_path / "f.cedar"]).read()
    (tmp_path / "b.cedar").write_bytes(b"\n\xff")
    with pytest.raises(SettingsError, match=r"b\.cedar:2: is not text"):
        Files([tmp_path / "b.cedar"]).read()


def test_files_of_one_name_are_told_apart(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.cedar").write_text(ALLOW)
    assert list(Files([tmp_path / "*" / "a.cedar"]).read()) == ["x/a.cedar", "y/a.cedar"]


async def test_a_changed_file_is_in_force_once_it_is_renewed(file):
    policy = made(file)
    before, stamp = policy.version, policy.stamp()
    assert not await policy.renew()
    assert policy.version == before
    file.write_text(DENY)
    assert policy.stamp() != stamp
    assert await policy.renew()
    assert policy.version > before
    assert await allowed(policy) == [False]


async def test_a_file_that_is_wrong_changes_nothing(file):
    policy = made(file)
    before = policy.version
    file.write_text(DENY + "permit(principal")
    with pytest.raises(SettingsError, match=r"a\.cedar:2"):
        await policy.renew()
    file.unlink()
    with pytest.raises(SettingsError):
        await policy.renew()
    assert policy.version == before
    assert await allowed(policy) == [True]


async def test_a_further_file_that_fits_the_pattern_is_seen(file):
    policy = made(file.parent / "*.cedar")
    stamp = policy.stamp()
    (file.parent / "b.cedar").write_text(DENY)
    assert policy.stamp() != stamp
    assert await policy.renew()
    assert await allowed(policy) == [False]


async def test_what_servers_say_of_their_tools_is_read(file):
    file.write_text("permit(principal, action, resource) when { resource is Tool && resource.readOnly };")
    policy = made(file)
    assert await allowed(policy) == [None]
    before = policy.version
    policy.learn({PAY: Facts(read_only=True)})
    assert policy.version > before
    assert await allowed(policy) == [True]
    before = policy.version
    policy.learn({PAY: Facts(read_only=True)})
    assert policy.version == before


async def test_policies_in_force_are_looked_at_again_once_more_is_known(file):
    file.write_text(
        'permit(principal, action == Action::"claims__pay", resource) when { context.arguments.a > 1 };'
    )
    policy = made(file)
    assert await policy.review() == policy.notes
    policy.learn({PAY: tool({"a": {"type": "string"}}, "a")})
    assert any("expected Long but saw String" in each for each in await policy.review())


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        (ALLOW, set()),
        ('permit(principal in Role::"a", action, resource);', {"roles"}),
        ('permit(principal in Group::"a", action, resource);', {"groups"}),
        ('permit(principal == User::"a|b|c", action, resource);', {"tenant", "issuer", "subject"}),
        ('permit(principal, action, resource) when { principal.client == "x" };', {"client"}),
        ("permit(principal, action, resource) when { principal has region };", {"region"}),
    ],
)
def test_what_policies_read_of_a_principal_is_said(file, text, reads):
    file.write_text(text)
    assert made(file, region="text").reads() == reads


def test_a_policy_that_takes_a_principal_whole_reads_anything(file):
    file.write_text(
        "permit(principal, action, resource) when { {a: principal}.a == principal || principal in resource };"
    )
    assert made(file).reads() is None


async def test_an_attribute_that_cannot_be_judged_denies_whatever_is_asked(file):
    file.write_text(
        "permit(principal, action, resource) unless { principal has limit && principal.limit < 0 };"
    )
    policy = made(file, limit="number")
    who = principal(limit="none")
    told = await policy.decide(who, "/mcp", [PAY, PAY])
    assert [each.allowed for each in told] == [False, False]
    assert (await policy.judge(who, "/mcp", PAY, {})).allowed is False
    assert "principal.limit" in told[0].because


async def test_a_call_is_judged_by_its_arguments(file):
    file.write_text(
        'permit(principal, action == Action::"claims__pay", resource) when { context.arguments.amount < 5 };'
    )
    policy = made(file)
    (verdict,) = await policy.decide(principal(), "/mcp", [PAY])
    assert (verdict.allowed, verdict.arguments) == (True, True)
    assert (await policy.judge(principal(), "/mcp", PAY, {"amount": 4})).allowed is True
    assert (await policy.judge(principal(), "/mcp", PAY, {"amount": 5})).allowed is None
    other = Target("claims", Kind.TOOL, "other")
    assert (await policy.judge(principal(), "/mcp", other, {"amount": 4})).allowed is None


async def test_ten_thousand_targets_are_decided_in_their_order(file):
    file.write_text('permit(principal, action, resource) when { resource.name like "get_*" };')
    policy = made(file)
    targets = [
        Target("s", Kind.TOOL, f"{'get' if number % 3 else 'set'}_{number}") for number in range(10_000)
    ]
    policy.learn({target: Facts(read_only=bool(at % 2)) for at, target in enumerate(targets)})
    found = await allowed(policy, *targets)
    assert found == [True if number % 3 else None for number in range(10_000)]


async def test_the_loop_goes_on_while_many_targets_are_decided(file):
    file.write_text(
        "".join(
            f'permit(principal, action, resource) when {{ resource.name == "t{number}" }};\n'
            for number in range(50)
        )
    )
    policy = made(file)
    targets = [Target("s", Kind.TOOL, f"t{number}") for number in range(2000)]
    work = asyncio.create_task(policy.decide(principal(), "/mcp", targets))
    turns = 0
    began = time.perf_counter()
    while not work.done():
        await asyncio.sleep(0.001)
        turns += 1
    took = time.perf_counter() - began
    # How long each turn waits is the machine's; that there are many while it works is ours.
    assert turns > took * 20
    assert sum(each.allowed is True for each in work.result()) == 50
