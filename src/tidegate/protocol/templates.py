"""URI templates: whether a URI can come of one (RFC 6570), in time linear in both. For routing only.

The server decides what a URI means; this only tells which server to ask. A template that is not well
formed, or is very long, matches nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

_MOST = 32
"""Expressions of one template."""
_EXPRESSION = re.compile(r"\{([+#./;?&]?)([A-Za-z0-9_.,%:*]{1,128})\}")


class _Step(Enum):
    LITERAL = 0
    SEGMENT = 1
    """`{var}`: at least one character, no slash."""
    ANY = 2
    """`{+var}`: at least one character."""
    OPTIONAL = 3
    """`{?var}` and the like: nothing, or the operator and anything."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template, taken apart."""

    steps: tuple[tuple[_Step, str], ...]

    def matches(self, uri: str) -> bool:
        """Tell whether a URI can come of it.

        Follows all positions that can be reached at once, as the bits of a number: no backtracking,
        whatever the template asks for.
        """
        reached = 1
        for step, text in self.steps:
            if not reached:
                return False
            if step is _Step.LITERAL:
                reached = _after(uri, text, reached)
            elif step is _Step.SEGMENT:
                reached = _within(uri, reached)
            elif step is _Step.ANY:
                reached = _onwards(uri, _lowest(reached) + 1)
            else:
                begins = _after(uri, text, reached)
                reached |= _onwards(uri, _lowest(begins)) if begins else 0
        return bool(reached >> len(uri) & 1)


def read(template: str) -> Template | None:
    """Take a template apart; None where it is none of ours."""
    steps: list[tuple[_Step, str]] = []
    at = count = 0
    for found in _EXPRESSION.finditer(template):
        count += 1
        if found.start() > at:
            steps.append((_Step.LITERAL, template[at : found.start()]))
        steps.append(_step(found.group(1)))
        at = found.end()
    rest = template[at:]
    if rest:
        steps.append((_Step.LITERAL, rest))
    literals = "".join(text for step, text in steps if step is _Step.LITERAL)
    if not count or count > _MOST or "{" in literals or "}" in literals:
        return None
    return Template(tuple(steps))


def _step(operator: str) -> tuple[_Step, str]:
    if operator == "":
        return _Step.SEGMENT, ""
    if operator == "+":
        return _Step.ANY, ""
    return _Step.OPTIONAL, operator


def _after(uri: str, text: str, reached: int) -> int:
    """Give the positions after `text`, where it stands at a reached one."""
    found, at = 0, uri.find(text)
    while at >= 0:
        found |= 1 << at
        at = uri.find(text, at + 1)
    return (found & reached) << len(text)


def _within(uri: str, reached: int) -> int:
    """Give the positions that are at least one character on from a reached one, and in its segment."""
    found, begin = 0, 0
    while begin <= len(uri):
        end = uri.find("/", begin)
        end = len(uri) if end < 0 else end
        here = reached >> begin & ((1 << (end - begin)) - 1)  # the last position has nothing before the slash
        if here:
            first = begin + _lowest(here) + 1
            found |= ((1 << (end - first + 1)) - 1) << first
        begin = end + 1
    return found


def _onwards(uri: str, first: int) -> int:
    return ((1 << (len(uri) + 1)) - 1) >> first << first if first <= len(uri) else 0


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
