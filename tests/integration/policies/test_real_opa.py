"""The OPA engine against the real one, built by scripts/opa; and its page, whose examples are true."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import unused_port
from tests.servers.real_opa import MISSING, PROGRAM, RealOpa, run
from tests.unit.cli.conftest import run as tidegate
from tests.unit.test_docs import ROOT, blocks
from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.opa import OPA, OpaSettings
from tidegate.extensions.policies.opa.api import Trouble, open_api
from tidegate.extensions.policies.opa.policy import OpaPolicy
from tidegate.ports.extension import Surroundings
from tidegate.testing.policy_contract import GET, GUEST, USER, Made, PolicyContract, one

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason=MISSING)

PAGE = ROOT / "docs" / "opa.md"
AUTHZ = """
package authz

user if "user" in input.principal.roles
tool := input.target.name if { input.target.kind == "tool"; input.target.server == "claims" }
allow if { user; tool == "get" }
shown if { user; tool == "pay" }
reads contains "amount" if shown
allow if { shown; is_number(input.arguments.amount); input.arguments.amount <= 100 }
deny contains "guests may do nothing" if "guest" in input.principal.roles
deny contains "closed" if data.closed[input.target.name]
"""
MANY = "package many\n\ndecisions := [d | some t in input.targets; d := data.authz with input.target as t]\n"
VERSION = "package version\n\nrevision := data.number\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOpa]:
    place = tmp_path_factory.mktemp("opa")
    made = RealOpa(place, unused_port()).start()
    yield made
    made.kill()


@pytest.fixture
def opa(shared: RealOpa) -> RealOpa:
    """Have the same policies and data before each test."""
    for each in shared.ask("GET", "/v1/policies")["result"]:
        shared.ask("DELETE", f"/v1/policies/{each['id']}")
    shared.put_policy("authz.rego", AUTHZ)
    shared.put_policy("many.rego", MANY)
    shared.put_data("closed", {})
    return shared


def settings(opa: RealOpa, **more: object) -> OpaSettings:
    return OpaSettings.model_validate(
        {"url": opa.address, "path": "authz", "principal": ["roles"], "timeout": 5, **more}
    )


class TestRealOpa(PolicyContract):
    batch = False

    @pytest.fixture
    async def made(self, opa: RealOpa, tmp_path: Path) -> AsyncIterator[Made]:
        given = settings(opa, batch="many/decisions") if self.batch else settings(opa)
        async with OPA.open(given, Surroundings(tmp_path, "")) as policy:

            async def close() -> None:
                await asyncio.to_thread(opa.put_data, "closed", {"get": True})

            yield Made(policy, close)


class TestRealOpaWithBatch(TestRealOpa):
    batch = True


@asynccontextmanager
async def looking(settings: OpaSettings, place: Path) -> AsyncGenerator[Callable[[], Awaitable[bool]]]:
    """Open an engine, and give what has it look once, and tells whether it saw a change."""
    async with open_api(settings, Surroundings(place, "")) as api:
        policy = OpaPolicy(settings, api, patience=20)
        await policy.look()

        async def look() -> bool:
            before = policy.version
            await policy.look()
            return policy.version != before

        yield look


async def test_policies_data_and_revisions_are_seen_to_change_and_nothing_else_is(
    opa: RealOpa, tmp_path: Path
) -> None:
    await asyncio.to_thread(opa.put_data, "number", 1)
    await asyncio.to_thread(opa.put_policy, "version", VERSION)
    by_number = settings(opa, revision="version/revision")
    async with looking(settings(opa), tmp_path) as whole, looking(by_number, tmp_path) as number:
        assert (await whole(), await number()) == (False, False)
        await asyncio.to_thread(opa.put_data, "number", 2)
        assert (await whole(), await number()) == (False, True), "its policies do not read that"
        await asyncio.to_thread(opa.put_policy, "authz.rego", AUTHZ + "\n# other\n")
        assert (await whole(), await number()) == (True, False), "its author says that nothing changed"
        await asyncio.to_thread(opa.put_data, "closed", {"none": True})
        assert (await whole(), await number()) == (True, False)
        await asyncio.to_thread(opa.put_policy, "more", "package authz\n\nother := data.elsewhere\n")
        assert await whole(), "another module of the package counts"
        await asyncio.to_thread(opa.put_data, "elsewhere", 1)
        assert await whole(), "and so does what that reads"


async def test_what_is_wrong_in_a_policy_denies_and_says_so(opa: RealOpa, tmp_path: Path) -> None:
    async with OPA.open(settings(opa), Surroundings(tmp_path, "")) as policy:
        assert (await one(policy, USER, GET)).allowed
        await asyncio.to_thread(opa.put_policy, "more", 'package authz\n\nrule := "a"\nrule := "b" if true\n')
        with pytest.raises(Trouble, match="evaluating"):
            await one(policy, USER, GET)


async def test_reads_forgotten_deny_everything(opa: RealOpa, tmp_path: Path) -> None:
    text = 'package authz\n\nallow := true\ndeny contains "no" if input.arguments.amount > 5\n'
    await asyncio.to_thread(opa.put_policy, "authz.rego", text)
    async with OPA.open(settings(opa), Surroundings(tmp_path, "")) as policy:
        with pytest.raises(Trouble, match="have no `reads`"):
            await one(policy, USER, GET)


async def test_its_own_authentication_and_decision_ids(tmp_path: Path) -> None:
    (tmp_path / "authz.rego").write_text(AUTHZ)
    (tmp_path / "system.rego").write_text(
        'package system.authz\n\ndefault allow := false\n\nallow if input.identity == "t0ken"\nallow if input.path == ["health"]\n'
    )
    options = ("--authentication", "token", "--authorization", "basic", "--set", "decision_logs.console=true")
    opa = RealOpa(tmp_path, unused_port(), *options).start("authz.rego", "system.rego")
    try:
        async with OPA.open(settings(opa, token="t0ken"), Surroundings(tmp_path, "")) as policy:
            verdict = await one(policy, GUEST, GET)
            assert (verdict.allowed, verdict.because) == (False, "guests may do nothing")
            assert json.loads(verdict.reads["opa.decision"]) in (tmp_path / "opa.log").read_text()
        async with OPA.open(settings(opa, token="another"), Surroundings(tmp_path, "")) as policy:
            with pytest.raises(Trouble, match="status 401"):
                await one(policy, USER, GET)
    finally:
        opa.kill()


async def test_a_view_of_ten_thousand_tools_is_decided_in_few_requests(opa: RealOpa, tmp_path: Path) -> None:
    targets = [Target("claims", Kind.TOOL, f"t{number}") for number in range(10_000)] + [GET]
    async with OPA.open(settings(opa, batch="many/decisions"), Surroundings(tmp_path, "")) as policy:
        async with asyncio.timeout(30):
            verdicts = await policy.decide(USER, "/mcp", targets)
        assert [each.allowed is True for each in verdicts] == [target is GET for target in targets]


# -- the page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Have the page's files, and OPA with them."""
    place = tmp_path_factory.mktemp("page")
    config, cases = blocks(PAGE, "yaml")
    authz, many, version, system, tests = blocks(PAGE, "rego")
    (data,) = blocks(PAGE, "json")
    opa = RealOpa(place, unused_port())
    for name, text in (
        ("authz.rego", authz), ("many.rego", many), ("version.rego", version), ("system.rego", system),
        ("authz_test.rego", tests), ("data.json", data), ("cases.yaml", cases),
        ("tidegate.yaml", config.replace("http://127.0.0.1:8181", opa.address).replace("200ms", "5s")),
    ):  # fmt: skip
        (place / name).write_text(text)
    opa.start("authz.rego", "many.rego", "data.json")
    yield place
    opa.kill()


def test_the_tests_in_rego_of_the_page_pass_and_all_of_its_policies_are_right(page: Path) -> None:
    files = ["authz.rego", "many.rego", "data.json", "authz_test.rego"]
    ran = run(["test", "--format", "json", *files], page)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(json.loads(ran.stdout)) == 3
    checked = run(["check", "--strict", *files[:2], "version.rego", "system.rego"], page)
    assert checked.returncode == 0, checked.stderr


def test_every_case_of_the_page_comes_out_as_it_says(page: Path) -> None:
    ran = tidegate("policy", "test", "--config", str(page / "tidegate.yaml"), str(page / "cases.yaml"))
    assert (ran.status, ran.out) == (0, "7 of 7 cases came out as expected\n"), ran.out + ran.err


def test_the_check_of_the_page_finds_it_right_and_tells_what_is_not(page: Path) -> None:
    config = page / "tidegate.yaml"
    ran = tidegate("policy", "check", "--config", str(config))
    assert (ran.status, ran.out) == (0, "1 policy is right\n"), ran.err
    for wrong, told in (
        ("path: tidegate/none", "there is nothing at this path"),
        ("path: tidegate/many/decisions", "neither an object"),
        ("batch: tidegate/authz/reads", "answers for"),
        ("revision: tidegate/none", "nothing at tidegate/none"),
        ("url: http://127.0.0.1:9", "cannot be reached"),
    ):
        key = wrong.partition(":")[0]
        text = config.read_text()
        lines = [line for line in text.splitlines() if not line.strip().startswith(f"{key}:")]
        at = next(number for number, line in enumerate(lines) if "type: opa" in line)
        (page / "wrong.yaml").write_text("\n".join([*lines[: at + 1], f"    {wrong}", *lines[at + 1 :]]))
        ran = tidegate("policy", "check", "--config", str(page / "wrong.yaml"))
        assert ran.status == 2, ran.out
        assert told in ran.err.replace("\n", " "), ran.err
