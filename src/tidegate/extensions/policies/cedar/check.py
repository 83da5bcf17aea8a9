"""Check: are policies right? Whole or not at all: what one of them gets wrong keeps all from being taken.

Cedar's validator sees each policy against the schema, with the arguments of just those tools that the policy can be
about. Where nothing is known of these, what reads arguments is left out of the check, and that is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidegate.domain.errors import SettingsError
from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.cedar import engine
from tidegate.extensions.policies.cedar.engine import CedarFailure, Tree
from tidegate.extensions.policies.cedar.known import Known
from tidegate.extensions.policies.cedar.schema import AttributeType, schema
from tidegate.extensions.policies.cedar.slices import Index
from tidegate.extensions.policies.cedar.tree import literals
from tidegate.extensions.policies.cedar.types import NOTHING, Type
from tidegate.extensions.policies.cedar.words import ACTION, ACTIONS, ANY_CALL, CALL, SERVER, TYPES, target_id
from tidegate.extensions.policies.cedar.written import Written, understand

_WITHOUT = frozenset(ACTIONS.values()) - {CALL, ACTIONS[Kind.PROMPT]}
_SHAPES = 64
"""Different sets of arguments that one policy is checked with."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Policies that are right."""

    written: Sequence[Written]
    notes: Sequence[str]
    """What is odd about them, or was not checked: `file:line: …`."""


def check(files: Mapping[str, str], attributes: Mapping[str, AttributeType], known: Known) -> Checked:
    """Read and check policies.

    Raises:
        SettingsError: one line for each mistake, with file and line.
    """
    written = understand(files)
    found = _Check(written, attributes, known)
    found.all()
    if found.mistakes:
        raise SettingsError(found.mistakes)
    return Checked(written, found.notes)


def review(
    written: Sequence[Written], attributes: Mapping[str, AttributeType], known: Known
) -> Sequence[str]:
    """Say what is wrong or odd about policies that are in force, now that more is known."""
    found = _Check(written, attributes, known)
    found.all()
    return [*found.mistakes, *found.notes]


class _Check:
    def __init__(
        self, written: Sequence[Written], attributes: Mapping[str, AttributeType], known: Known
    ) -> None:
        self.mistakes: list[str] = []
        self.notes: list[str] = []
        self._written = written
        self._attributes = attributes
        self._known = known
        self._prompts = known.prompt_arguments()

    def all(self) -> None:
        """Check all policies, and note what names they have that nobody else has."""
        plain = [each for each in self._written if not each.dynamic]
        named = {name for each in self._written for name in _calls(each)}
        base = self._schema({ANY_CALL: NOTHING, **dict.fromkeys(sorted(named), NOTHING)})
        self._validate(plain, [each.text for each in plain], base)
        about = self._about()
        unchecked: list[Written] = []
        for number, each in enumerate(self._written):
            if each.dynamic and not self._with_arguments(each, about.get(number, [])):
                unchecked.append(each)
        self._validate(unchecked, [_without_arguments(each) for each in unchecked], base)
        self._names()

    def _with_arguments(self, policy: Written, targets: Sequence[Target]) -> bool:
        """Check a policy with the arguments of what it is about; tell whether anything is known of them."""
        calls: dict[str, Type] = {}
        shapes: set[str] = set()
        for target in targets:
            found = self._known.type(target)
            if target.kind is not Kind.TOOL:
                continue
            if not isinstance(found, Type):
                self.notes.append(f"{policy.place}: not checked with {target_id(target)}: {found}")
                continue
            shape = json.dumps(found.tree())
            if shape not in shapes or target_id(target) in _calls(policy):
                calls[target_id(target)] = found
                shapes.add(shape)
        for name, type in calls.items():
            self._note_unsaid(policy, name, type)
        prompts = any(target.kind is Kind.PROMPT for target in targets)
        if (not calls and not prompts and _may_have_arguments(policy)) or _calls(policy) - set(calls):
            self.notes.append(
                f"{policy.place}: what it reads of arguments is not checked: too little is known"
            )
            return False
        if len(shapes) > _SHAPES:
            self.notes.append(f"{policy.place}: is checked with {_SHAPES} of {len(shapes)} sets of arguments")
        kept = dict(list(calls.items())[:_SHAPES]) or {ANY_CALL: NOTHING}
        self._validate([policy], [policy.text], self._schema(kept))
        return True

    def _note_unsaid(self, policy: Written, call: str, type: Type) -> None:
        for name in dict.fromkeys(path[0] for path in policy.paths if path):
            member = type.members.get(name)
            if member is not None and member.type is None:
                self.notes.append(f"{policy.place}: Cedar has no type for {name} of {call}: {member.why_not}")

    def _schema(self, calls: Mapping[str, Type]) -> Tree:
        return schema(self._attributes, calls, self._prompts)

    def _validate(self, policies: Sequence[Written], texts: Sequence[str], against: Tree) -> None:
        if not policies:
            return
        try:
            found = engine.validate(texts, against)
        except CedarFailure as error:
            self.mistakes.append(f"{policies[0].place}: cannot be checked: {error}")
            return
        for policy, errors in zip(policies, found, strict=True):
            self.mistakes += [f"{policy.place}: {_in_our_words(error)}" for error in dict.fromkeys(errors)]

    def _about(self) -> Mapping[int, Sequence[Target]]:
        """Give the known targets that each policy can be about."""
        index = Index([each.tree for each in self._written])
        found: dict[int, list[Target]] = {}
        if any(each.dynamic for each in self._written):
            for target in self._known.facts:
                for number in index.about(target):
                    found.setdefault(number, []).append(target)
        return found

    def _names(self) -> None:
        """Note what is named and not there, on servers of which something is known."""
        servers = {target.server for target in self._known.facts}
        listed = {(TYPES[target.kind], target_id(target)) for target in self._known.facts}
        listed |= {(ACTION, target_id(target)) for target in self._known.tools()}
        kinds = {TYPES[Kind.TOOL], TYPES[Kind.PROMPT], ACTION}
        for policy in self._written:
            for kind, name in dict.fromkeys(literals(policy.tree)):
                server = name.partition("__")[0]
                if servers and kind == SERVER and name not in servers:
                    self.notes.append(f"{policy.place}: nothing is known of a server {name}")
                elif kind in kinds and "__" in name and server in servers and (kind, name) not in listed:
                    self.notes.append(f"{policy.place}: {server} lists no {name.partition('__')[2]}")


def _calls(policy: Written) -> set[str]:
    """Give the calls of tools that a policy names."""
    return {name for kind, name in literals(policy.tree) if kind == ACTION and "__" in name}


def _may_have_arguments(policy: Written) -> bool:
    """Tell whether it may be about tools or prompts; nothing else has arguments."""
    done = policy.tree["action"]
    return done["op"] == "All" or any(name not in _WITHOUT for _, name in literals([*done.values()]))


def _without_arguments(policy: Written) -> str:
    return engine.render(policy.with_conditions([each for each in policy.conditions if not each.dynamic]))


def _in_our_words(error: str) -> str:
    """Leave out what only Cedar knows it by."""
    return error.removeprefix("for policy ").partition(", ")[2] if error.startswith("for policy `") else error


def shapes(known: Known, targets: Iterable[Target]) -> Mapping[str, Type]:
    """Give the arguments of tools by the names of their calls, where they have a type."""
    found = {target_id(target): known.type(target) for target in targets}
    return {name: each for name, each in found.items() if isinstance(each, Type)}
