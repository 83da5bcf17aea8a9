"""What the tests of Cedar share: policies from text, principals, targets, and the plain way to ask Cedar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import cedarpy

from tidegate.domain.principal import Attribute, Principal
from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.cedar.book import Book, Plan
from tidegate.extensions.policies.cedar.known import Known
from tidegate.extensions.policies.cedar.schema import AttributeType
from tidegate.extensions.policies.cedar.words import ACTIONS, TYPES, target_id, user_id
from tidegate.extensions.policies.cedar.written import understand
from tidegate.ports.facts import Facts
from tidegate.ports.policy import Verdict

DECLARED: Mapping[str, AttributeType] = {"region": "text", "limit": "number", "vip": "bool", "teams": "list"}
PAY = Target("claims", Kind.TOOL, "pay")


def principal(
    subject: str = "alice", *roles: str, groups: tuple[str, ...] = (), **attributes: Attribute
) -> Principal:
    """Give a principal of the tenant `default` and the issuer `key`."""
    return Principal("default", "key", subject, frozenset(roles), frozenset(groups), attributes=attributes)


def tool(arguments: Mapping[str, object], *required: str, **claims: bool) -> Facts:
    """Give the facts of a tool with arguments of these types."""
    schema = {"type": "object", "properties": arguments, "required": list(required)}
    return Facts(**claims, schema=json.dumps(schema).encode())


def book(text: str, known: Mapping[Target, Facts] | None = None) -> Book:
    """Give the policies of a text, unchecked."""
    return Book(understand({"test.cedar": text}), DECLARED, Known(known or {}))


def decide(book: Book, who: Principal, target: Target = PAY, endpoint: str = "/mcp") -> Verdict:
    """Decide without arguments."""
    return plan(book, who, target, endpoint).verdict


def plan(book: Book, who: Principal, target: Target, endpoint: str) -> Plan:
    """Decide without arguments, and say what is to be judged."""
    question = book.question(book.subject(who), endpoint, target)
    return question if isinstance(question, Plan) else book.ask([question])[0]


def judge(
    book: Book, who: Principal, arguments: object, target: Target = PAY, endpoint: str = "/mcp"
) -> Verdict:
    """Decide with arguments, where they matter."""
    question = book.question(book.subject(who), endpoint, target)
    if isinstance(question, Plan):
        return question.verdict
    found = book.ask([question])[0]
    return book.case(question, found, target, endpoint).judge(arguments) if found.judged else found.verdict


def plainly(
    text: str, who: Principal, target: Target, facts: Facts, context: Mapping[str, Any]
) -> bool | None:
    """Ask Cedar about all policies with all there is to know, and take what denies and is wrong as a denial."""
    kind = TYPES[target.kind]
    own = {"type": kind, "id": target_id(target)}
    group = ACTIONS[target.kind]
    action = {"type": "Action", "id": target_id(target) if target.kind is Kind.TOOL else group}
    attributes: dict[str, Any] = {"name": target.name, "server": target.server}
    parents = [{"type": "Action", "id": group}] if target.kind is Kind.TOOL else []
    if target.kind is Kind.TOOL:
        attributes |= {
            "readOnly": facts.read_only,
            "destructive": facts.destructive and not facts.read_only,
            "idempotent": facts.idempotent,
            "openWorld": facts.open_world,
        }
    user = {"type": "User", "id": user_id(who)}
    vouched = {
        "tenant": who.tenant,
        "issuer": who.issuer,
        "subject": who.subject,
        "client": who.client,
        **{name: list(each) if isinstance(each, tuple) else each for name, each in who.attributes.items()},
    }
    belongs = [{"type": "Role", "id": name} for name in who.roles] + [
        {"type": "Group", "id": name} for name in who.groups
    ]
    entities = [
        {"uid": user, "attrs": vouched, "parents": belongs},
        {"uid": own, "attrs": attributes, "parents": [{"type": "Server", "id": target.server}]},
        {"uid": action, "attrs": {}, "parents": parents},
    ]
    request = {"principal": user, "action": action, "resource": own, "context": dict(context)}
    result = cedarpy.is_authorized(request, text, entities)
    if result.decision is cedarpy.Decision.NoDecision:
        raise AssertionError(result.diagnostics.errors)
    if not result.allowed and result.diagnostics.reasons:
        return False
    effects = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    for error in result.diagnostics.errors:
        name = error.partition("`")[2].partition("`")[0]
        if effects[name]["effect"] == "forbid":
            return False
    return True if result.allowed else None
