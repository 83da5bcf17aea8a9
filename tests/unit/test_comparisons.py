"""What is secret is compared in a time that tells nothing of it, wherever whoever asks could measure that time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "tidegate"
ASKED = ("access", "edge", "extensions/identity", "gateway")
"""What strangers' requests come to."""
PUBLIC = {"gateway/lister.py"}
"""Modules with digests of what is no secret."""
SECRET = ("secret", "digest", "checksum", "password", "authorization", "mac", "hmac")
COMPARING = {
    "extensions/identity/keys.py": 2,
    "extensions/identity/binding.py": 1,
    "extensions/identity/dpop.py": 2,
}
"""Modules that compare secrets, and what is derived from them, and how many times at least."""


def modules() -> list[Path]:
    return sorted(path for part in ASKED for path in (SOURCE / part).rglob("*.py"))


def names(node: ast.expr) -> Iterator[str]:
    """Give the names that a value is made of."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            yield each.id.lower()
        elif isinstance(each, ast.Attribute):
            yield each.attr.lower()


def plainly(tree: ast.AST) -> Iterator[int]:
    """Give the lines on which a secret is compared with `==` or `!=`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(each, ast.Eq | ast.NotEq) for each in node.ops):
            words = {
                word
                for side in (node.left, *node.comparators)
                for name in names(side)
                for word in name.split("_")
            }
            if not words.isdisjoint(SECRET):
                yield node.lineno


def test_no_secret_is_compared_plainly() -> None:
    found = {
        f"{path.relative_to(SOURCE)}:{line}"
        for path in modules()
        if str(path.relative_to(SOURCE)) not in PUBLIC
        for line in plainly(ast.parse(path.read_text("utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    "said", ["stored.digest == digest", "a if x.secret != y else b", "key_checksum == b''"]
)
def test_a_plain_comparison_would_be_found(said: str) -> None:
    assert list(plainly(ast.parse(said))) == [1]


@pytest.mark.parametrize("module", COMPARING)
def test_secrets_are_compared_in_constant_time(module: str) -> None:
    tree = ast.parse((SOURCE / module).read_text("utf-8"))
    calls = [
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr == "compare_digest"
    ]
    assert len(calls) >= COMPARING[module]
