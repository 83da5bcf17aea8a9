"""URI templates: what may come of one, and that no template costs more than it is long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.protocol.templates import read


@pytest.mark.parametrize(
    ("template", "uri", "expected"),
    [
        ("test://template/{id}/data", "test://template/7/data", True),
        ("test://template/{id}/data", "test://template//data", False),
        ("test://template/{id}/data", "test://template/7/8/data", False),
        ("test://template/{id}/data", "test://template/7/data2", False),
        ("test://template/{id}", "test://template/data", True),
        ("file:///{+path}", "file:///a/b/c.txt", True),
        ("file:///{+path}", "file:///", False),
        ("x://{a}-{b}", "x://1-2-3", True),
        ("x://{a}-{b}", "x://1", False),
        ("x://{a}{b}", "x://ab", True),
        ("x://{a}{b}", "x://a", False),
        ("x://q{?a,b}", "x://q", True),
        ("x://q{?a,b}", "x://q?a=1&b=2", True),
        ("x://q{?a,b}", "x://qq", False),
        ("x://q{?a}{&b}", "x://q?a=1&b=2", True),
        ("x://q{/path*}", "x://q/a/b", True),
        ("x://q{/path*}", "x://qa", False),
        ("x://q{#frag}", "x://q#here", True),
        ("x://q{.ext}", "x://q.txt", True),
        ("x://q{;p}", "x://q;p=1", True),
        ("{scheme}://x", "any://x", True),
        ("{+all}", "anything at all/", True),
        ("x://ü/{a}", "x://ü/é", True),
    ],
)
def test_a_uri_can_come_of_a_template(template: str, uri: str, expected: bool) -> None:
    found = read(template)
    assert found is not None
    assert found.matches(uri) is expected


@pytest.mark.parametrize(
    "template", ["x://plain", "x://{", "x://}{a}", "x://{a", "x://{}", "x://{a b}", "x://{!a}", "{a}" * 33]
)
def test_what_is_no_template_or_too_long_a_one_matches_nothing(template: str) -> None:
    assert read(template) is None


@given(st.lists(st.from_regex(r"[a-z0-9%._~-]{1,8}", fullmatch=True), min_size=1, max_size=5))
def test_every_expansion_of_a_template_is_recognised(values: list[str]) -> None:
    template = "x://" + "/".join(f"{{v{n}}}" for n in range(len(values))) + "/end"
    found = read(template)
    assert found is not None
    assert found.matches("x://" + "/".join(values) + "/end")
    assert not found.matches("x://" + "/".join(values))


@given(st.text(alphabet="ab-/{}?+", max_size=40), st.text(alphabet="ab-/?+", max_size=40))
def test_any_template_and_uri_are_survived(template: str, uri: str) -> None:
    found = read(template)
    if found is not None:
        found.matches(uri)


def test_a_template_made_to_take_long_does_not() -> None:
    """One that backtracks does not come back from this."""
    hostile = read("x://" + "{a}-" * 30 + "{b}!")
    assert hostile is not None
    assert not hostile.matches("x://" + "-" * 2000)
