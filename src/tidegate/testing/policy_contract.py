"""What every policy engine does. One is right where a subclass of `PolicyContract` passes.

class TestCedar(PolicyContract):
    @pytest.fixture
    async def made(self): ... yield Made(policy, close)

Its policies say of the server `claims`: the role `user` may call `get`, and `pay` with an `amount` of at most 100; whoever
has the role `guest` may call neither, whatever else; nothing is said of anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tidegate.domain.errors import TidegateError
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target
from tidegate.ports.policy import Policy, Verdict

DEADLINE = 20.0
GET, PAY, OTHER = (Target("claims", Kind.TOOL, name) for name in ("get", "pay", "other"))
USER = Principal("default", "key", "alice", frozenset({"user"}))
GUEST = Principal("default", "key", "bob", frozenset({"user", "guest"}))
NOBODY = Principal("default", "key", "carol")

ODD = (
    Target("claims", Kind.TOOL, "ü\n\0x" * 20), Target("claims", Kind.TOOL, "x" * 4000),
    Target("claims", Kind.RESOURCE, 'claims://"; permit(1)'), Target("claims", Kind.EXTENSION, "x/y"),
    Target("claims", Kind.TEMPLATE, "claims://{id}"), Target("none", Kind.PROMPT, "get"),
)  # fmt: skip
_ODD: list[Any] = [
    None, [], "amount", 5, {}, {"amount": None}, {"amount": "1"}, {"amount": [1]}, {"amount": {"amount": 1}},
    {"Amount": 1}, {"amount": 101}, {"amount": 10**30}, {"amount": True}, {"a": [[[[{"b": {}}]]]]},
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """An engine under test."""

    policy: Policy
    close: Callable[[], Awaitable[None]]
    """Changes its policies, so that nobody may call `get`; `pay` stays as it is."""


async def one(policy: Policy, principal: Principal, target: Target) -> Verdict:
    """Have one target decided."""
    (verdict,) = await policy.decide(principal, "/mcp", (target,))
    return verdict


class PolicyContract:
    """The behaviour of an engine. Subclasses give the fixture `made`."""

    @pytest.mark.parametrize(
        ("principal", "target", "allowed"),
        [
            (USER, GET, True),
            (GUEST, GET, False),
            (NOBODY, GET, None),
            (USER, OTHER, None),
            (NOBODY, OTHER, None),
        ],
    )
    async def test_it_allows_denies_and_says_nothing(
        self, made: Made, principal: Principal, target: Target, allowed: bool | None
    ) -> None:
        verdict = await one(made.policy, principal, target)
        assert (verdict.allowed, verdict.arguments) == (allowed, False)
        assert verdict.rule
        assert len(verdict.rule) <= 200

    async def test_there_is_one_verdict_for_each_target_in_their_order(self, made: Made) -> None:
        targets = [
            GET,
            OTHER,
            PAY,
            OTHER,
            GET,
            *(Target("claims", Kind.TOOL, f"t{at}") for at in range(300)),
            GET,
        ]
        verdicts = await made.policy.decide(USER, "/mcp", targets)
        assert [each.allowed for each in verdicts] == [
            True if target in (GET, PAY) else None for target in targets
        ]
        assert list(await made.policy.decide(USER, "/mcp", ())) == []

    async def test_what_depends_on_arguments_is_shown_to_whom_some_are_allowed_and_judged(
        self, made: Made
    ) -> None:
        shown = await one(made.policy, USER, PAY)
        assert (shown.allowed, shown.arguments) == (True, True)
        assert (await made.policy.judge(USER, "/mcp", PAY, {"amount": 100})).allowed is True
        assert not (await made.policy.judge(USER, "/mcp", PAY, {"amount": 101})).allowed
        assert not (await one(made.policy, NOBODY, PAY)).allowed
        assert not (await one(made.policy, GUEST, PAY)).allowed

    async def test_what_was_judged_says_what_was_read(self, made: Made) -> None:
        await one(made.policy, USER, PAY)
        verdict = await made.policy.judge(USER, "/mcp", PAY, {"amount": 7, "note": "private"})
        assert verdict.reads["context.arguments.amount"] == "7"
        assert "private" not in str(verdict)

    async def test_a_call_may_be_judged_before_its_target_was_decided(self, made: Made) -> None:
        assert (await made.policy.judge(USER, "/mcp", PAY, {"amount": 100})).allowed is True
        assert not (await made.policy.judge(NOBODY, "/mcp", PAY, {"amount": 100})).allowed

    @pytest.mark.parametrize("arguments", _ODD, ids=ascii)
    async def test_odd_arguments_are_never_allowed(self, made: Made, arguments: object) -> None:
        await one(made.policy, USER, PAY)
        try:
            verdict = await made.policy.judge(USER, "/mcp", PAY, arguments)
        except TidegateError:
            return  # an engine in trouble denies
        assert not verdict.allowed

    async def test_odd_targets_are_decided_and_not_allowed(self, made: Made) -> None:
        for target in ODD:
            try:
                verdict = await one(made.policy, USER, target)
            except TidegateError:
                continue
            assert not verdict.allowed, target

    async def test_principals_who_are_alike_in_what_is_read_are_told_the_same(self, made: Made) -> None:
        reads = made.policy.reads()
        other = Principal(
            "default", "elsewhere", "dave", frozenset({"user"}), client="c", attributes={"x": 1}
        )
        if reads is None or reads & {"subject", "issuer", "client", "x"}:
            pytest.skip("it reads who somebody is")
        assert "roles" in reads
        for target in (GET, PAY, OTHER):
            assert await one(made.policy, USER, target) == await one(made.policy, other, target)

    async def test_a_change_of_policies_is_in_force_and_told(self, made: Made) -> None:
        assert (await one(made.policy, USER, GET)).allowed
        before = made.policy.version
        await made.close()
        async with asyncio.timeout(DEADLINE):
            while made.policy.version == before:  # noqa: ASYNC110 - engines tell nobody
                await asyncio.sleep(0.01)
        assert not (await one(made.policy, USER, GET)).allowed
        assert (await one(made.policy, USER, PAY)).allowed

    async def test_many_may_ask_at_once(self, made: Made) -> None:
        async with asyncio.timeout(DEADLINE):
            found = await asyncio.gather(
                *(one(made.policy, each, GET) for _ in range(20) for each in (USER, GUEST, NOBODY))
            )
        assert [each.allowed for each in found] == [True, False, None] * 20
