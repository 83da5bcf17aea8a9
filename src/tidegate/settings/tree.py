"""YAML text to a tree whose every part knows its line. Bounded, without tags, recursion or merging.

Built from the parser's events and not by PyYAML's composer and constructors: nothing is constructed
but text, numbers, true, false and nothing (the core schema of YAML 1.2, so that `on` and `1:30` stay
text). What it means is not looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from yaml import events

MAX_DEPTH = 32
MAX_NODES = 50_000
"""Counted as if every alias were written out, so that a few aliases of aliases cannot fill memory."""

Scalar = str | int | float | bool | None

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,300}|[0-9]{1,300}(\.[0-9]{0,300})?)([eE][-+]?[0-9]{1,3})?")
# Escapes in double quotes can write what no file, header or environment can hold.
_UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Unreadable(Exception):
    """The text is no YAML that we take. Nothing after `line` was looked at."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class Node:
    """A scalar (`value`), a list (`items`) or a mapping (`entries`, with the line of each key)."""

    line: int
    value: Scalar = None
    items: list[Node] | None = None
    entries: dict[str, tuple[int, Node]] | None = None
    size: int = 1
    depth: int = 1

    def plain(self) -> object:
        """Give the tree as lists, dictionaries and scalars."""
        if self.items is not None:
            return [item.plain() for item in self.items]
        if self.entries is not None:
            return {key: node.plain() for key, (_, node) in self.entries.items()}
        return self.value


@dataclass(slots=True)
class Tree:
    """A document: its root (None where it is empty) and mistakes that reading could go on after."""

    root: Node | None
    problems: list[tuple[int, str]]


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read."""

    node: Node
    anchor: str | None
    key: tuple[int, str] | None = None


@dataclass(slots=True)
class _Builder:
    """Takes events one by one."""

    root: Node | None = None
    problems: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    anchors: dict[str, Node] = field(default_factory=dict[str, Node])
    stack: list[_Open] = field(default_factory=list[_Open])
    documents: int = 0

    def take(self, event: events.Event) -> None:
        line = _line(event)
        match event:
            case events.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    raise Unreadable(
                        line, "a second document begins here; there is one settings file, one document"
                    )
            case events.ScalarEvent():
                self._scalar(event, line)
            case events.AliasEvent():
                self._alias(event, line)
            case events.SequenceStartEvent():
                self._begin(event, Node(line, items=[]))
            case events.MappingStartEvent():
                self._begin(event, Node(line, entries={}))
            case events.SequenceEndEvent() | events.MappingEndEvent():
                self._end()
            case _:
                pass

    def _scalar(self, event: events.ScalarEvent, line: int) -> None:
        text = event.value
        self._refuse_tag(event, line)
        if _UNWRITABLE.search(text):
            self.problems.append((line, "a control character, which text here cannot hold"))
            text = _UNWRITABLE.sub("?", text)
        if self._wants_key():
            self._key(line, text)
            return
        plain = not event.style  # None from the pure parser, "" from libyaml
        node = Node(line, value=self._resolve(text, line) if plain else text)
        self._remember(event, node)
        self._add(node)

    def _key(self, line: int, text: str) -> None:
        if len(text) > 200:
            raise Unreadable(line, "a key is longer than 200 characters")
        if text == "<<":
            self.problems.append(
                (line, "merge keys (<<) are not taken; an alias can stand for a whole value")
            )
        self.stack[-1].key = (line, text)

    def _resolve(self, text: str, line: int) -> Scalar:
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _INT.fullmatch(text):
            return int(text)
        if text.lstrip("+-").isascii() and text.lstrip("+-").isdigit():
            self.problems.append((line, "a number of more than 18 digits"))
            return 0
        if _FLOAT.fullmatch(text):
            return float(text)
        return text

    def _alias(self, event: events.AliasEvent, line: int) -> None:
        if self._wants_key():
            raise Unreadable(line, "an alias as a key")
        if any(each.anchor == event.anchor for each in self.stack):
            raise Unreadable(line, f"the alias *{event.anchor} stands inside what it means")
        target = self.anchors.get(event.anchor or "")
        if target is None:
            raise Unreadable(line, f"the alias *{event.anchor} has no anchor before it")
        self._add(target)

    def _begin(self, event: events.CollectionStartEvent, node: Node) -> None:
        self._refuse_tag(event, node.line)
        if self._wants_key():
            raise Unreadable(node.line, "a list or mapping as a key")
        if len(self.stack) >= MAX_DEPTH:
            raise Unreadable(node.line, f"nested more than {MAX_DEPTH} deep")
        self.stack.append(_Open(node, event.anchor))

    def _end(self) -> None:
        closed = self.stack.pop()
        if closed.anchor is not None:
            self.anchors[closed.anchor] = closed.node
        self._add(closed.node)

    def _add(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        parent.node.size += node.size
        parent.node.depth = max(parent.node.depth, node.depth + 1)
        if parent.node.size > MAX_NODES:
            raise Unreadable(
                node.line, f"more than {MAX_NODES} values, aliases counted as what they stand for"
            )
        if parent.node.depth > MAX_DEPTH:
            raise Unreadable(
                node.line, f"nested more than {MAX_DEPTH} deep, aliases counted as what they stand for"
            )
        if parent.node.items is not None:
            parent.node.items.append(node)
        elif parent.node.entries is not None and parent.key is not None:
            (line, key), parent.key = parent.key, None
            if key in parent.node.entries:
                first = parent.node.entries[key][0]
                self.problems.append(
                    (line, f"the key {key} stands here a second time (first in line {first})")
                )
            else:
                parent.node.entries[key] = (line, node)

    def _wants_key(self) -> bool:
        return bool(self.stack) and self.stack[-1].node.entries is not None and self.stack[-1].key is None

    def _remember(self, event: events.NodeEvent, node: Node) -> None:
        if event.anchor is not None:
            self.anchors[event.anchor] = node

    def _refuse_tag(self, event: events.ScalarEvent | events.CollectionStartEvent, line: int) -> None:
        if event.tag is not None:
            self.problems.append((line, "tags (!…) are not taken"))


def read(text: str) -> Tree:
    """Read one YAML document.

    Raises:
        Unreadable: where reading cannot go on.
    """
    builder = _Builder()
    for event in _events(text):
        builder.take(event)
    return Tree(builder.root, builder.problems)


def _events(text: str) -> Iterator[events.Event]:
    # libyaml where it is there: a file of the largest size takes the pure parser many seconds.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "not YAML"
        raise Unreadable(mark.line + 1 if mark else 1, f"not YAML: {what}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(line, f"not YAML: {error.reason}") from None


def _line(event: events.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
