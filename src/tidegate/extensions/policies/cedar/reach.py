"""Reach: may anything of a server be had, while nothing is known of what it offers?

Asked of Cedar, of what policies say whatever the target is: then something may be there for who asks, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.domain.target import Target
from tidegate.extensions.policies.cedar import engine, told
from tidegate.extensions.policies.cedar.asked import Subject, request, thing
from tidegate.extensions.policies.cedar.case import said
from tidegate.extensions.policies.cedar.engine import Tree
from tidegate.extensions.policies.cedar.tree import Condition, Reads, literals
from tidegate.extensions.policies.cedar.words import SERVER
from tidegate.extensions.policies.cedar.written import Written
from tidegate.ports.facts import UNKNOWN
from tidegate.ports.policy import Verdict

_ALL: Tree = {"op": "All"}


def reach(written: Sequence[Written], who: Subject, endpoint: str, target: Target) -> Verdict:
    """Decide about `target`, which stands for anything of its server.

    Raises:
        CedarFailure: Cedar could not decide it.
    """
    policies = {f"p{number}": each for number, each in enumerate(written) if _concerns(each, target.server)}
    if not policies:
        return Verdict(None, told.NO_RULE)
    trees = {name: _anything(each) for name, each in policies.items()}
    asked = thing(target, UNKNOWN, Reads())
    context: Tree = {"endpoint": endpoint, "arguments": {}}
    known = engine.entities([who.entity(), *asked.entities().values()])
    answer = engine.ask([request(who, asked, context)], engine.policy_set(trees), known)[0]
    found = said(answer, policies)
    if found is None:
        return Verdict(None, told.NO_RULE)
    name, allowed, because = found
    if not allowed and not because:
        because = told.denied_by(policies[name], {})
    return Verdict(allowed, policies[name].name, because=because)


def _concerns(policy: Written, server: str) -> bool:
    """Tell whether a policy that allows may be about something of a server, one that denies about all of it."""
    scope = policy.tree["resource"]
    named = list(literals([value for name, value in scope.items() if name != "op"]))
    here = all(name == server for kind, name in named if kind == SERVER)
    if policy.permits:
        return here and all(name.partition("__")[0] == server for kind, name in named if kind != SERVER)
    all_of_it = scope["op"] in ("All", "in") and all(kind == SERVER for kind, _ in named)
    return here and all_of_it and policy.tree["action"]["op"] == "All" and all(map(_known, policy.conditions))


def _anything(policy: Written) -> Tree:
    kept = policy.with_conditions([each for each in policy.conditions if _known(each)])
    return {**kept, "action": _ALL, "resource": _ALL}


def _known(condition: Condition) -> bool:
    """Tell whether a condition is about who asks, and from where, alone."""
    reads = condition.reads
    return not (reads.everything or reads.target or reads.resource or condition.dynamic)
