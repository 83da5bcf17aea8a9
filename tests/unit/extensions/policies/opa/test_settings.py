"""Settings of OPA: what is taken, with its token from elsewhere, and what is refused."""

from __future__ import annotations

import pytest

from tests.unit.settings.given import BASE
from tidegate.domain.errors import SettingsError
from tidegate.domain.server import Secret
from tidegate.extensions import table
from tidegate.extensions.policies.opa import OpaSettings
from tidegate.settings import parse

WHOLE = """
policies:
- type: opa
  url: https://opa.example.com/prefix/
  path: tidegate/authz
  batch: tidegate/many/decisions
  revision: tidegate/many/revision
  principal: [roles, region]
  timeout: 200ms
  at_once: 4
  token: ${env:OPA_TOKEN}
  ca: opa-ca.pem
"""


def read(text: str) -> OpaSettings:
    (found,) = parse(text, BASE, table, environment={"OPA_TOKEN": "t0k"}).policies
    assert isinstance(found.settings, OpaSettings)
    return found.settings


def test_all_of_it_is_taken() -> None:
    found = read(WHOLE)
    assert found.url == "https://opa.example.com/prefix"
    assert (found.timeout, found.at_once, found.principal) == (0.2, 4, ("roles", "region"))
    assert found.token == Secret("t0k")
    assert found.token is not None
    assert found.token.origins == ("env:OPA_TOKEN",)
    assert "t0k" not in repr(found)
    assert found.ca == BASE / "opa-ca.pem"
    assert read(WHOLE) == found


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8181", "http://localhost", "http://[::1]:1", "unix:///run/opa.sock"]
)
def test_it_may_be_on_this_machine_without_tls(url: str) -> None:
    assert read(f"policies: [{{type: opa, url: '{url}', path: a}}]\n").url == url


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{type: opa, path: a}", "url: is needed"),
        ("{type: opa, url: 'http://127.0.0.1:1'}", "path: is needed"),
        ("{type: opa, url: 'http://opa.example.com', path: a}", "https:// beyond this machine"),
        ("{type: opa, url: 'ftp://127.0.0.1', path: a}", "should be a URL"),
        ("{type: opa, url: 'unix://run/opa.sock', path: a}", "whole path of a socket"),
        ("{type: opa, url: 'https://u:p@h', path: a}", "no user"),
        ("{type: opa, url: 'https://h?x', path: a}", "no ?query"),
        ("{type: opa, url: 'https://h', path: /a}", "path:"),
        ("{type: opa, url: 'https://h', path: a/../b}", "path:"),
        ("{type: opa, url: 'https://h', path: data.a?x}", "path:"),
        ("{type: opa, url: 'https://h', path: a, timeout: 10s}", "timeout:"),
        ("{type: opa, url: 'https://h', path: a, timeout: soon}", "should be a duration"),
        ("{type: opa, url: 'https://h', path: a, at_once: 0}", "at_once:"),
        ("{type: opa, url: 'https://h', path: a, principal: ['x y']}", "no attribute can have"),
        ("{type: opa, url: 'https://h', path: a, token: '${env:NONE}'}", "NONE is not set"),
        ("{type: opa, url: 'https://h', path: a, token: 'a b'}", "should be a token"),
        ("{type: opa, url: 'https://h', path: a, policy: b}", "is no known key"),
    ],
)
def test_a_mistake_is_told(entry: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(f"policies: [{entry}]\n")
    assert told in str(caught.value)
