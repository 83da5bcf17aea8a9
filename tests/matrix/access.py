"""Who may do what, written down twice: as rules, roles and a policy, and as the plain table of what each may.

The table is what the tests go by. Nothing in it is computed from the rules, so that both can be wrong only apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.unit.access.engine import NOTHING, Engine
from tidegate.access.authorize import Grants
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule, Selection
from tidegate.domain.principal import Principal
from tidegate.domain.role import Grant, Role
from tidegate.domain.target import Kind, Target, is_reaching
from tidegate.ports.policy import Verdict

ALLOW, DENY = Effect.ALLOW, Effect.DENY
SERVERS = ("claims", "docs")
TOOLS = {"claims": ("get", "list", "pay", "job", "purge"), "docs": ("get", "search", "job")}
PROMPTS = {"claims": ("summary", "letter"), "docs": ("summary",)}
RESOURCES = {"claims": ("claims://open", "claims://secret"), "docs": ("docs://hand/book", "docs://law")}
TEMPLATES = {"claims": ("claims://by/{number}",), "docs": ("docs://page/{name}",)}
UNLISTED = {"claims": ("claims://by/1", "claims://by/../secret"), "docs": ("docs://page/x",)}
"""Resources that are read by a template and stand in no list."""


def _principal(name: str, *roles: str, region: str = "eu") -> Principal:
    return Principal("t", "test", name, frozenset(roles), attributes={"region": region})


PRINCIPALS: Mapping[str, Principal] = {
    each.subject: each
    for each in (
        _principal("nobody"), _principal("user", "user"), _principal("clerk", "clerk"),
        _principal("adjuster", "adjuster"), _principal("abroad", "adjuster", region="us"),
        _principal("twin", "adjuster"), _principal("auditor", "auditor", "unheard-of"),
        _principal("admin", "admin"), _principal("barred", "adjuster", "barred"),
    )
}  # fmt: skip

# -- as rules, roles and a policy -------------------------------------------------------------


def _grant(
    effect: Effect, number: int = 0, endpoints: tuple[str, ...] = (), **named: tuple[str, ...]
) -> Grant:
    return Grant(effect, number, endpoints, Selection(**named))


ROLES = (
    Role("clerk", ("user",), (
        _grant(ALLOW, 0, ("/mcp",), servers=("claims",), tools=("get", "list"), prompts=("summary",)),
        _grant(ALLOW, 1, ("/elsewhere",), tools=("purge",)),
        _grant(ALLOW, 2, servers=("claims",), resources=("claims://*",)),
        _grant(DENY, 0, resources=("claims://secret",)),
    )),
    Role("adjuster", ("clerk",), (_grant(ALLOW, 0, servers=("claims",), tools=("job",)),)),
    Role("auditor", (), (_grant(ALLOW, 0, servers=("docs",)),)),
    Role("barred", (), (_grant(DENY, 0),)),
)  # fmt: skip
ENDPOINT = EndpointSpec(
    "/mcp", SERVERS,
    rules=(
        Rule(ALLOW, frozenset({"user"}), ("docs",), ("get", "search"), ("summary",), ("docs://hand*",)),
        Rule(ALLOW, frozenset({"admin"})),
        Rule(DENY, servers=("claims",), tools=("purge",)),
    ),
)  # fmt: skip

YES = Verdict(True, "test#yes", reads={"principal.region": '"eu"'})
NO = Verdict(False, "test#no", reads={"principal.region": '"us"'})


def _says(principal: Principal, target: Target) -> Verdict:
    """Adjusters may pay, by amount; nobody abroad sees letters, which adjusters may have, or lists; docs has a forbidden law."""
    if is_reaching(target):
        return NOTHING
    abroad, adjuster = principal.attributes.get("region") == "us", "adjuster" in principal.roles
    if target == Target("claims", Kind.TOOL, "pay"):
        return Verdict(True, "test#pay", arguments=True) if adjuster else NOTHING
    if target == Target("claims", Kind.TOOL, "list") and abroad:
        return NO
    if target == Target("claims", Kind.PROMPT, "letter") and adjuster:
        return NO if abroad else Verdict(True, "test#letter", arguments=True)
    if target.name == "docs://law":
        return NO
    return NOTHING


def _judges(principal: Principal, target: Target, arguments: object) -> Verdict:
    given = arguments if isinstance(arguments, dict) else {}
    if target.name == "letter":
        return NO if given.get("to") == "press" else YES
    amount = given.get("amount")
    limit = 100 if principal.attributes.get("region") == "us" else 1000
    return YES if isinstance(amount, int) and amount <= limit else NO


def engine() -> Engine:
    """Give the policy."""
    return Engine(_says, _judges, name="test", reads=frozenset({"roles", "region"}))


def grants(policy: Engine) -> Grants:
    """Give what decides beside the endpoint's rules."""
    return Grants(ROLES, (policy,))


# -- as a table -------------------------------------------------------------------------------


@dataclass(frozen=True)
class May:
    """What one principal may, each as `server name`; `pay` is the most that may be paid."""

    tools: frozenset[str] = frozenset()
    prompts: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    templates: frozenset[str] = frozenset()
    unlisted: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()
    """Servers."""
    pay: int = 0
    press: bool = False
    """Whether a letter may go to the press."""


def _of(*names: str) -> frozenset[str]:
    return frozenset(names)


_HAND = _of("docs docs://hand/book")
_CLERK = _of("docs get", "docs search", "claims get", "claims list")
_OPEN = _of("claims claims://open") | _HAND
_NUMBER, _BY = _of("claims claims://by/{number}"), _of("claims claims://by/1")
_SUMMARIES = _of("docs summary", "claims summary")
MAY: Mapping[str, May] = {
    "nobody": May(),
    "user": May(_of("docs get", "docs search"), _of("docs summary"), _HAND),
    "clerk": May(_CLERK, _SUMMARIES, _OPEN, _NUMBER, _BY),
    "adjuster": May(
        _CLERK | _of("claims job", "claims pay"), _SUMMARIES | _of("claims letter"), _OPEN, _NUMBER, _BY, pay=1000
    ),
    "twin": May(
        _CLERK | _of("claims job", "claims pay"), _SUMMARIES | _of("claims letter"), _OPEN, _NUMBER, _BY, pay=1000
    ),
    "abroad": May(
        _CLERK - _of("claims list") | _of("claims job", "claims pay"), _SUMMARIES, _OPEN, _NUMBER, _BY, pay=100
    ),
    "auditor": May(
        _of("docs get", "docs search", "docs job"), _of("docs summary"), _HAND, _of("docs docs://page/{name}"),
        _of("docs docs://page/x"), _of("docs"),
    ),
    "admin": May(
        _of("docs get", "docs search", "docs job", "claims get", "claims list", "claims job", "claims pay"),
        _of("docs summary", "claims summary", "claims letter"),
        _of("docs docs://hand/book", "claims claims://open", "claims claims://secret"),
        _of("docs docs://page/{name}", "claims claims://by/{number}"),
        _of("docs docs://page/x", "claims claims://by/1"), _of("docs"), pay=10**9, press=True,
    ),
    "barred": May(),
}  # fmt: skip
