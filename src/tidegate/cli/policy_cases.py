"""Cases that policies are tested with: who asks for what, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import Field, JsonValue, ValidationError, model_validator

from tidegate.domain.errors import SettingsError, TidegateError
from tidegate.domain.principal import Attribute, Principal
from tidegate.domain.target import Kind, Target
from tidegate.ports.facts import Facts, Informed
from tidegate.ports.policy import Policy, Verdict
from tidegate.settings import read_text
from tidegate.settings.base import Model
from tidegate.settings.policies import PolicySettings
from tidegate.settings.problems import explain, place, show
from tidegate.settings.tree import Node, Unreadable
from tidegate.settings.tree import read as read_tree

_KINDS: Mapping[str, Kind] = {
    "tool": Kind.TOOL,
    "prompt": Kind.PROMPT,
    "resource": Kind.RESOURCE,
    "template": Kind.TEMPLATE,
    "method": Kind.EXTENSION,
}
_BETWEEN = "__"
NOBODY = "no policy"


class WhoModel(Model):
    """Who asks."""

    subject: str
    tenant: str = "default"
    issuer: str = "key"
    client: str = ""
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    attributes: dict[str, bool | int | str | tuple[str, ...]] = Field(default_factory=dict)

    def principal(self) -> Principal:
        """Give it as the gateway has it."""
        attributes = cast("Mapping[str, Attribute]", self.attributes)
        return Principal(
            self.tenant,
            self.issuer,
            self.subject,
            frozenset(self.roles),
            frozenset(self.groups),
            self.client,
            attributes,
        )


class CaseModel(Model):
    """One case."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    principal: WhoModel
    endpoint: str = "/mcp"
    tool: str | None = None
    prompt: str | None = None
    resource: str | None = None
    template: str | None = None
    method: str | None = None
    arguments: dict[str, JsonValue] | None = None
    """Of the call. Where absent, it is whether the target is shown: whether some call of it may be allowed."""
    expect: Literal["allow", "deny"]
    rule: str | None = None
    """Which policy is to say so, such as `claims.cedar#limit`, or `no policy`."""

    @model_validator(mode="after")
    def _one_target(self) -> CaseModel:
        named = [name for name in _KINDS if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"should have one of {', '.join(_KINDS)}")
        if _BETWEEN not in getattr(self, named[0]):
            raise ValueError(f"{named[0]} should be server{_BETWEEN}name, as endpoints show it")
        return self

    def target(self) -> Target:
        """Give what is asked for."""
        name = next(name for name in _KINDS if getattr(self, name) is not None)
        server, _, own = str(getattr(self, name)).partition(_BETWEEN)
        return Target(server, _KINDS[name], own)


class FileModel(Model):
    """A file of cases."""

    policies: tuple[str, ...] = ()
    """Cedar files or patterns, relative to this file. Those of the settings file where absent."""
    attributes: dict[str, Literal["text", "number", "bool", "list"]] = Field(default_factory=dict)
    """As in the settings, with `policies`."""
    tools: str | None = None
    """What servers list, as `tidegate tools --json` writes it; relative to this file."""
    cases: Annotated[tuple[CaseModel, ...], Field(min_length=1, max_length=10_000)]


@dataclass(frozen=True, slots=True)
class Cases:
    """A file of cases, understood."""

    path: Path
    model: FileModel
    lines: Sequence[int]

    @property
    def policies(self) -> Sequence[Path]:
        """The files that it names."""
        return [self.path.parent / each for each in self.model.policies]

    @property
    def tools(self) -> Path | None:
        """The file that it names for what servers list."""
        return None if self.model.tools is None else self.path.parent / self.model.tools

    def entries(self) -> Sequence[PolicySettings]:
        """Give its policies as settings have them."""
        from tidegate.extensions.policies.cedar import CedarSettings

        if not self.model.policies:
            return ()
        return (
            PolicySettings(
                "cedar", CedarSettings(files=tuple(self.policies), attributes=self.model.attributes)
            ),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case."""

    place: str
    case: CaseModel
    verdict: Verdict

    @property
    def passed(self) -> bool:
        """Whether it came out as expected."""
        if bool(self.verdict.allowed) != (self.case.expect == "allow"):
            return False
        return self.case.rule is None or self.case.rule == self.verdict.rule

    def line(self) -> str:
        """Say what came out otherwise."""
        verdict = self.verdict
        said = f"{'allowed' if verdict.allowed else 'denied'} by {verdict.rule}"
        wanted = f"{'allowed' if self.case.expect == 'allow' else 'denied'}"
        by = f" by {self.case.rule}" if self.case.rule is not None else ""
        because = f": {verdict.because}" if verdict.because else ""
        return f"{self.place}: {self.case.name}: is {said}, should be {wanted}{by}{because}"

    def told(self) -> Mapping[str, object]:
        """Give all of it, for machines."""
        verdict = self.verdict
        return {
            "at": self.place,
            "name": self.case.name,
            "passed": self.passed,
            "expected": {"decision": self.case.expect, "rule": self.case.rule},
            "decision": "allow" if verdict.allowed else "deny",
            "rule": verdict.rule,
            "reads": dict(verdict.reads),
            "because": verdict.because,
        }


def read(path: Path) -> Cases:
    """Read a file of cases.

    Raises:
        SettingsError: one line for each mistake.
    """
    try:
        tree = read_tree(read_text(path))
    except Unreadable as error:
        raise SettingsError(f"{path}:{error.line}: {error}") from None
    mistakes = [f"{path}:{line}: {message}" for line, message in tree.problems]
    if tree.root is None:
        raise SettingsError(f"{path}: is empty")
    try:
        model = FileModel.model_validate(tree.root.plain())
    except ValidationError as error:
        found = [explain(each, FileModel, ("",)) for each in error.errors(include_url=False)]
        mistakes += [
            f"{path}:{place(tree.root, each.path[1:])}: {show(each.path[1:])}: {each.message}"
            for each in found
        ]
        raise SettingsError(mistakes) from None
    if mistakes:
        raise SettingsError(mistakes)
    return Cases(path, model, [each.line for each in _cases(tree.root)])


async def run(
    cases: Cases, entries: Sequence[PolicySettings], facts: Mapping[Target, Facts]
) -> Sequence[Result]:
    """Decide all cases.

    Raises:
        SettingsError: the policies are wrong.
    """
    import tempfile

    from tidegate.assemble.policies import open_policies
    from tidegate.ports.extension import Surroundings

    with tempfile.TemporaryDirectory() as nowhere:
        async with open_policies(entries, Surroundings(Path(nowhere), "0" * 16)) as policies:
            for policy in policies:
                if isinstance(policy, Informed):
                    policy.learn(facts)
            return [
                Result(f"{cases.path}:{line}", case, await decide(policies, case))
                for line, case in zip(cases.lines, cases.model.cases, strict=True)
            ]


async def decide(policies: Sequence[Policy], case: CaseModel) -> Verdict:
    """Put together what engines say: a denial overrides, and one has to allow it.

    Raises:
        SettingsError: one of them could not decide. It would deny, and a case that expects that would prove nothing.
    """
    said: list[Verdict] = []
    for policy in policies:
        try:
            said.append(await _said(policy, case))
        except TidegateError as error:
            raise SettingsError(f"{policy.name} could not decide: {error}") from error
    for wanted in (False, True):
        for verdict in said:
            if verdict.allowed is wanted:
                return verdict
    return next((each for each in said if each.because), Verdict(None, NOBODY))


async def _said(policy: Policy, case: CaseModel) -> Verdict:
    principal, target = case.principal.principal(), case.target()
    (verdict,) = await policy.decide(principal, case.endpoint, (target,))
    if verdict.arguments and case.arguments is not None:
        return await policy.judge(principal, case.endpoint, target, case.arguments)
    return verdict


def _cases(root: Node) -> Sequence[Node]:
    listed = (root.entries or {}).get("cases")
    return () if listed is None else listed[1].items or ()
