"""Said: what OPA's answers mean. What has another shape than agreed is trouble, and denies.

The document that decides is an object, most often a package, of which these keys are read; all others are its own:
`allow`, `deny`, `shown`, `reads`, `because`, `rule`. Or it is only true or false, which is `allow`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from tidegate.extensions.policies.opa.api import UNDEFINED, Trouble
from tidegate.extensions.policies.opa.asked import ALL, Path
from tidegate.ports.policy import Verdict

KEYS = ("allow", "deny", "shown", "reads", "because", "rule")
NOBODY = "no policy"
"""The rule where nothing is said."""
DECISION = "opa.decision"
"""Name of the id of OPA's decision among what was read: its decision log has it by that."""
_MOST_READS, _DEEPEST, _MOST_WORDS = 64, 16, 64
_LONGEST_RULE, _LONGEST_WORDS, _LONGEST_KEY = 100, 300, 256


@dataclass(frozen=True, slots=True)
class Answer:
    """A document that decides, understood."""

    allow: bool = False
    denied: bool = False
    shown: bool = False
    reads: tuple[Path, ...] = ()
    """Arguments that matter, by their paths."""
    because: str = ""
    rule: str = ""
    defined: bool = True

    def verdict(self, path: str, reads: Mapping[str, str]) -> Verdict:
        """Give it as what is said before arguments are known."""
        if self.denied:
            return Verdict(False, self.rule or f"{path}#deny", reads=reads, because=self.because)
        if self.reads:
            found = True if self.allow or self.shown else None
            rule = self.rule or (f"{path}#{'allow' if self.allow else 'shown'}" if found else NOBODY)
            return Verdict(found, rule, arguments=True, reads=reads, because=self.because)
        return self.final(path, reads)

    def final(self, path: str, reads: Mapping[str, str]) -> Verdict:
        """Give it as what is said with all that is read."""
        if self.denied or self.allow:
            rule = self.rule or f"{path}#{'deny' if self.denied else 'allow'}"
            return Verdict(not self.denied, rule, reads=reads, because=self.because)
        because = self.because if self.defined else f"OPA has nothing at {path}"
        return Verdict(None, NOBODY, reads=reads, because=because)


def understood(document: object, path: str) -> Answer:
    """Read a document that decides.

    Raises:
        Trouble: it is none.
    """
    if document is UNDEFINED:
        return Answer(defined=False)
    if isinstance(document, bool):
        return Answer(allow=document)
    if not isinstance(document, dict):
        raise Trouble(f"{path} is neither an object nor true or false")
    found = cast("Mapping[str, object]", document)
    denied, why = _denial(found.get("deny", False), path)
    shown = _flag(found, "shown", path)
    # What is shown for its arguments, and does not say for which, is asked about with all.
    reads = _paths(found.get("reads", []), path) or (((ALL,),) if shown else ())
    because = [*why, *_texts(found.get("because", []), f"{path}.because")]
    rule = found.get("rule", "")
    if not isinstance(rule, str) or len(rule) > _LONGEST_RULE:
        raise Trouble(f"{path}.rule is no text of {_LONGEST_RULE} characters at most")
    words = "; ".join(dict.fromkeys(because))[:_LONGEST_WORDS]
    return Answer(_flag(found, "allow", path), denied, shown, reads, _plain(words), _plain(rule))


def many(document: object, path: str, wanted: int) -> Sequence[object]:
    """Read what a rule says of many targets at once.

    Raises:
        Trouble: it is no list, or not as long as the targets are many.
    """
    if document is UNDEFINED:
        raise Trouble(f"there is nothing at {path}")
    if not isinstance(document, list):
        raise Trouble(f"{path} is no list")
    found = cast("list[object]", document)
    if len(found) != wanted:
        raise Trouble(f"{path} gives {len(found)} answers for {wanted} targets")
    return found


def decision(id_: str) -> Mapping[str, str]:
    """Give the id of OPA's decision, where it has one, as what stands in records."""
    return {DECISION: json.dumps(id_[:64])} if id_ else {}


def _flag(found: Mapping[str, object], name: str, path: str) -> bool:
    value = found.get(name, False)
    if not isinstance(value, bool):
        raise Trouble(f"{path}.{name} is neither true nor false")
    return value


def _denial(value: object, path: str) -> tuple[bool, Sequence[str]]:
    """Read `deny`: true or false, or why, in texts."""
    if isinstance(value, bool):
        return value, ()
    texts = _texts(value, f"{path}.deny")
    return bool(texts), sorted(texts)


def _texts(value: object, at: str) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise Trouble(f"{at} is neither a text nor texts")
    texts = cast("list[object]", value)
    if any(not isinstance(each, str) for each in texts) or len(texts) > _MOST_WORDS:
        raise Trouble(f"{at} holds something else than texts, or more than {_MOST_WORDS}")
    return cast("list[str]", texts)


def _paths(value: object, path: str) -> tuple[Path, ...]:
    if not isinstance(value, list):
        raise Trouble(f"{path}.reads is no list or set")
    found: list[Path] = []
    for each in cast("list[object]", value):
        keys = cast("list[object]", each) if isinstance(each, list) else [each]
        if not 0 < len(keys) <= _DEEPEST or any(
            not isinstance(key, str) or len(key) > _LONGEST_KEY for key in keys
        ):
            raise Trouble(f"{path}.reads holds something else than names of arguments, or lists of keys")
        found.append(tuple(cast("list[str]", keys)))
    if len(found) > _MOST_READS:
        raise Trouble(f"{path}.reads has more than {_MOST_READS} arguments")
    return tuple(found)


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)
