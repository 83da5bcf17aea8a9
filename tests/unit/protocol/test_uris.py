"""URIs that patterns can judge, and those that are written so that they might be another."""

from __future__ import annotations

import pytest

from tidegate.protocol.uris import LONGEST, is_plain, is_sound


@pytest.mark.parametrize(
    "uri",
    [
        "file:///pub/a.txt", "memo://insights", "test://template/{id}/data", "file:///{+path}{?q*}", "urn:isbn:1",
        "x://host:80/a.b/..c/d..?e=f%20g&h=%25#i", "x:a%C3%A9", "x://a/web?u=https://b", "ui://app/x.html", "x://[::1]/a",
        "https://host/A@b", "http://host:80", "note://Inbox/1", "https://{host}/x",
    ],
)  # fmt: skip
def test_a_uri_written_in_the_usual_way_is_plain(uri: str) -> None:
    assert is_plain(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///pub/../secret", "file:///pub/./x", "file:///pub/..", "file:///..", "file:..", "../x",
        "file:///pub/%2e%2e/secret", "file:///pub/%2E./x", "file:///pub%2fx", "file:///pub%5c..", "file:///%73ecret",
        "file:///pub\\..\\secret", "file:////secret", "file:///pub//x", "FILE:///secret", "File:x",
        "file://localhost/x", "file:/x", "https://Host/x", "https://a@host/x", "http:x",
        "file:///a b", "file:///a\x00", "file:///a\n", "file:///\u202etxt",
    ],
)  # fmt: skip
def test_a_uri_written_so_that_it_may_be_another_is_not(uri: str) -> None:
    assert not is_plain(uri)


def test_what_is_listed_or_read_has_a_length_and_can_be_shown() -> None:
    assert is_sound("x:" + "a" * (LONGEST - 2))
    assert not is_sound("x:" + "a" * (LONGEST - 1))
    assert not is_sound("")
    assert not is_sound("x:\x1b[2J")
