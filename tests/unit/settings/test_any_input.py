"""Whatever the file holds: settings, or a SettingsError whose lines are single lines."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.settings.given import BASE, FewExtensions
from tidegate.domain.errors import SettingsError
from tidegate.settings import Settings, parse
from tidegate.settings.models import FileModel
from tidegate.settings.servers import LAUNCHES
from tidegate.settings.shape import keys_of

WORDS = [
    *keys_of(FileModel),
    *(key for model in LAUNCHES.values() for key in keys_of(model)),
    "/mcp", "allow", "deny", "roles", "tools", "servers", "names", "type", "local", "keys", "docker", "auto", "time",
    "127.0.0.1:8080", "[::1]:1", "0.0.0.0:1", "http://h/", "pypi:a==1", "256MiB", "15m", "${env:A}", "${file:/dev/null}",
    "${", "$${", "http://[", "source", "target", "/data",
]  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(WORDS), st.text(max_size=20)
)
keys = st.one_of(st.sampled_from(WORDS), st.text(max_size=10))
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=30,
)
documents = st.dictionaries(keys, values, max_size=8)


def outcome(text: str) -> None:
    problems = ["none"]
    try:
        assert isinstance(parse(text, BASE, FewExtensions(), environment={"A": "value-of-a"}), Settings)
    except SettingsError as error:
        problems = error.problems
    assert problems
    assert not any("\n" in problem for problem in problems)
    assert "value-of-a" not in "".join(problems)


@settings(max_examples=150, deadline=None)
@given(documents)
def test_any_document_gives_settings_or_lines(document: dict[str, Any]) -> None:
    outcome(json.dumps(document))


@settings(max_examples=150, deadline=None)
@given(
    st.text(
        alphabet=st.sampled_from("ab01:-?[]{},&*!|>'\"%@`#\\ \n\t\r~<=.é\u2028\x00\x85\ufeff"), max_size=80
    )
)
@example("a: &a\n  b: *a")
@example('"\\ud800": 1')
@example('a: "\\0"')
@example("? ? ? ?")
@example("%YAML 9.9\n---\na")
@example("'\n")
def test_any_text_gives_settings_or_lines(text: str) -> None:
    outcome(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["servers:", "  a:", "    command: [x]", "    env:", "      A: ${env:A}", "- x", "endpoints:",
                                 "  /mcp: {}", "    limits: {memory: &m 64MiB}", "    tmp: *m", "listen: :", "!!x y", "<<: 1"]), max_size=14))  # fmt: skip
def test_any_order_of_lines_gives_settings_or_lines(lines: list[str]) -> None:
    outcome("\n".join(lines))
