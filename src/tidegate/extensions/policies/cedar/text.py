"""Text of policy files: where each policy begins and ends, and at which line.

Cedar's parser tells no places, so files are cut into policies here, each of which it then parses alone. Cuts only;
what a policy means is Cedar's to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<blank> \s+ | //[^\n]* )
  | "(?:[^"\\]|\\.)*"
  | [A-Za-z_][A-Za-z0-9_]*
  | [0-9]+
  | :: | == | != | <= | >= | && | \|\|
  | .
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a text or a sign of a policy."""

    start: int
    end: int
    line: int


DEEPEST, LONGEST_PATH, MOST_OPERATORS = 64, 32, 400
"""Brackets within brackets, attributes of attributes, and operators that may hang on one another. The parser calls itself
for each, and beyond some thousands that ends the process."""
_OPERATORS = frozenset({"&&", "||", "+", "-", "*", "!", "if"})


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy as it stands in a file."""

    text: str
    line: int
    tokens: Sequence[Token]
    """Their places are those in `text`, their lines those of the file."""

    def excess(self) -> str | None:
        """Say what of it is beyond reason, so that it is not even to be parsed."""
        depth = deepest = path = longest = operators = 0
        before = ""
        for token in self.tokens:
            word = self.text[token.start : token.end]
            depth += (word in "([{") - (word in ")]}")
            deepest = max(deepest, depth)
            if word == "." or (word == "[" and (before in ")]" or before[0].isidentifier())):
                path += 1
            elif word not in "[]" and not (word[0].isidentifier() or word[0] == '"'):
                path = 0
            longest = max(longest, path)
            operators += word in _OPERATORS
            before = word
        if deepest > DEEPEST or longest > LONGEST_PATH:
            return f"is nested deeper than {DEEPEST} brackets or {LONGEST_PATH} attributes"
        return f"has more than {MOST_OPERATORS} operators" if operators > MOST_OPERATORS else None

    def line_of(self, unfinished: Callable[[str], bool]) -> int:
        """Give the line at which the text becomes wrong.

        `unfinished` tells whether a beginning of it may still become a policy; the first token for which it may not
        is where it is wrong.
        """
        good, bad = 0, len(self.tokens)
        while bad - good > 1:
            middle = (good + bad) // 2
            if unfinished(self.text[: self.tokens[middle - 1].end]):
                good = middle
            else:
                bad = middle
        return self.tokens[bad - 1].line


def cut(text: str) -> Sequence[Statement]:
    """Cut a file into its policies. What follows the last semicolon is one too, if it is anything."""
    found: list[Statement] = []
    tokens: list[Token] = []
    line, start = 1, 0
    for match in _TOKEN.finditer(text):
        word = match[0]
        if match["blank"] is None:
            if not tokens:
                start = match.start()
            tokens.append(Token(match.start() - start, match.end() - start, line))
            if word == ";":
                found.append(Statement(text[start : match.end()], tokens[0].line, tuple(tokens)))
                tokens = []
        line += word.count("\n")
    if tokens:
        end = start + tokens[-1].end
        found.append(Statement(text[start:end], tokens[0].line, tuple(tokens)))
    return found
