"""What is weighed to be explained is what is decided, whatever rules and engines say; and nothing of it is kept."""

from __future__ import annotations

from itertools import product

import pytest

from tests.unit.access.engine import NOTHING, Engine
from tidegate.access.authorize import Authorizer
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target
from tidegate.ports.policy import Verdict

WHO = Principal("t", "i", "ann", frozenset({"user"}))
TOOL, READ = Target("claims", Kind.TOOL, "pay"), Target("claims", Kind.RESOURCE, "claims://1")
ODD = Target("claims", Kind.RESOURCE, "claims://a/../b")
READS = {"principal.region": '"eu"'}
VERDICTS = (
    NOTHING,
    Verdict(True, "p#yes", reads=READS),
    Verdict(False, "p#no", because="not so"),
    Verdict(True, "p#maybe", arguments=True),
    Verdict(None, "none", arguments=True),
    None,
)
RULES = ((), (Rule(Effect.ALLOW),), (Rule(Effect.ALLOW), Rule(Effect.DENY, frozenset({"user"}))))


def engine(says: Verdict | None, judges: Verdict) -> Engine:
    made = Engine(lambda *_: says or NOTHING, lambda *_: judges)
    made.failing = OSError("gone") if says is None else None
    return made


@pytest.mark.parametrize(("rules", "target"), list(product(RULES, (TOOL, READ, ODD))))
async def test_what_is_weighed_is_what_is_decided(rules: tuple[Rule, ...], target: Target) -> None:
    for one, other, judged in product(VERDICTS, VERDICTS, VERDICTS[:3]):
        assert judged is not None
        engines = (engine(one, judged), engine(other, NOTHING))
        made = Authorizer(EndpointSpec("/mcp", ("claims",), rules=rules), policies=engines)
        weighed = await made.weigh(WHO, target, {"amount": 5})
        (shown,) = await made.know(WHO, (target,))
        final = await made.judge(WHO, target, {"amount": 5})
        assert (weighed.shown, weighed.shown.reads) == (shown, shown.reads)
        assert (weighed.final, weighed.final.reads, weighed.final.because) == (
            final,
            final.reads,
            final.because,
        )


async def test_each_engine_has_its_voice_and_none_is_asked_where_the_rules_deny() -> None:
    engines = engine(VERDICTS[1], NOTHING), engine(None, NOTHING)
    made = Authorizer(EndpointSpec("/mcp", ("claims",), rules=()), policies=engines)
    weighed = await made.weigh(WHO, TOOL)
    assert [(each.allowed, each.rule, each.failed) for each in weighed.voices] == [
        (True, "p#yes", False),
        (False, "engine could not decide", True),
    ]
    made = Authorizer(EndpointSpec("/mcp", ("claims",), rules=RULES[2]), policies=engines)
    assert (await made.weigh(WHO, TOOL)).voices == ()


async def test_nothing_that_is_weighed_is_kept() -> None:
    asked = engine(VERDICTS[1], NOTHING)
    made = Authorizer(EndpointSpec("/mcp", ("claims",), rules=()), policies=(asked,))
    await made.weigh(WHO, TOOL)
    await made.weigh(WHO, TOOL)
    await made.know(WHO, (TOOL,))
    assert len(asked.asked) == 3
