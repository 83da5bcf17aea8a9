"""References to secrets that are kept elsewhere: what is looked up, and what becomes of what is not there."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from tests.unit.settings.given import BASE
from tidegate.domain.errors import SecretUnavailable, SettingsError
from tidegate.domain.server import Remote, Secret
from tidegate.settings import Settings, parse
from tidegate.settings.references import Reference

CANARY = "hunter2-canary"


class BoxSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    place: str = "here"


class OneKind:
    """The kind of secrets `box`, and no runtime but those that servers need."""

    def names(self, kind: str) -> Sequence[str]:
        return {"secrets": ["env", "file", "box"], "runtimes": ["docker", "process"]}.get(kind, [])

    def settings_model(self, kind: str, name: str) -> type[BaseModel]:
        return BoxSettings


class Asked:
    """Looks up in a mapping, and keeps what it was asked."""

    def __init__(self, **kept: str) -> None:
        self.kept = kept
        self.times: list[tuple[list[str], Mapping[str, BaseModel], Path]] = []

    def __call__(
        self, wanted: Sequence[Reference], models: Mapping[str, BaseModel], state: Path
    ) -> Mapping[Reference, Secret | SecretUnavailable]:
        self.times.append(([str(each) for each in wanted], models, state))
        missing = SecretUnavailable("the box is shut")
        return {each: Secret(self.kept[each.name]) if each.name in self.kept else missing for each in wanted}


def read(text: str, look_up: Asked | None, base: Path = BASE) -> Settings:
    return parse(textwrap.dedent(text), base, OneKind(), environment={"E": "e"}, look_up=look_up)


SERVERS = """
    state: /var/lib/gateway
    secrets: {box: {place: there}, refresh: 5m}
    servers:
      a:
        image: x
        env: {A: "${box:one}", B: "x-${box:two}-${env:E}", C: plain}
        secrets: {key: "${box:one}", words: in the file}
      b:
        url: https://b.example.com/mcp
        headers: {Authorization: "Bearer ${box:two}"}
"""


def test_all_secrets_of_a_file_are_looked_up_at_once_each_of_them_once() -> None:
    asked = Asked(one=CANARY, two="2")
    settings = read(SERVERS, asked)
    ((references, models, state),) = asked.times
    assert sorted(references) == ["box:one", "box:two"]
    assert models == {"box": BoxSettings(place="there")}
    assert state == Path("/var/lib/gateway")
    a, b = settings.servers
    assert a.env == {"A": Secret(CANARY), "B": Secret("x-2-e"), "C": "plain"}
    assert a.secrets == {"key": Secret(CANARY), "words": Secret("in the file")}
    assert isinstance(b.launch, Remote)
    assert b.launch.headers == {"Authorization": Secret("Bearer 2")}


def test_a_server_names_the_secrets_it_is_given() -> None:
    a, b = read(SERVERS, Asked(one=CANARY, two="2")).servers
    assert a.secret_origins == ("box:one", "box:two", "env:E")
    assert b.secret_origins == ("box:two",)


def test_what_was_found_is_kept_to_be_compared_and_not_shown() -> None:
    settings = read(SERVERS, Asked(one=CANARY, two="2"))
    assert settings.secrets.refresh == 300
    found = {str(each): secret.reveal() for each, secret in settings.secrets.values.items()}
    assert found == {"box:one": CANARY, "box:two": "2", "env:E": "e"}
    assert CANARY not in repr(settings)


def test_another_value_makes_another_server_and_the_same_value_from_elsewhere_does_not() -> None:
    first = read(SERVERS, Asked(one=CANARY, two="2")).servers[0]
    again = read(SERVERS.replace("box:one", "box:three"), Asked(three=CANARY, two="2")).servers[0]
    other = read(SERVERS, Asked(one="another", two="2")).servers[0]
    assert first.digest() == again.digest()
    assert first.digest() != other.digest()


def test_without_anybody_to_look_up_the_file_is_checked_all_the_same() -> None:
    settings = read(SERVERS, None)
    assert settings.servers[0].env["A"] == Secret("")
    with pytest.raises(SettingsError, match=r"servers\.a\.env\.A: holds a \$\{…\} that is no reference"):
        read(SERVERS.replace("${box:one}", "${bix:one}"), None)


def test_a_secret_that_cannot_be_had_is_a_mistake_at_each_place_that_needs_it() -> None:
    with pytest.raises(SettingsError) as caught:
        read(SERVERS, Asked(one=CANARY))
    assert [each.partition(": ")[2] for each in caught.value.problems] == [
        "servers.a.env.B: the box is shut",
        "servers.b.headers.Authorization: the box is shut",
    ]


def test_nothing_is_looked_up_where_the_settings_of_its_place_are_wrong() -> None:
    asked = Asked(one=CANARY, two="2")
    with pytest.raises(SettingsError) as caught:
        read(SERVERS.replace("place: there", "plce: there"), asked)
    assert asked.times == []
    assert "secrets.box.plce: is no known key; did you mean place?" in str(caught.value)


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        (
            "{bx: {}}",
            "secrets.bx: there is no kind of secrets bx; did you mean box? (known: box, env, file, refresh)",
        ),
        ("{refresh: often}", "secrets.refresh: should be a duration"),
    ],
)
def test_a_mistake_in_where_secrets_are_kept_is_said(secrets: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(f"secrets: {secrets}", None)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("{image: x, secrets: {'../key': x}}", "holds a name that is none for a file"),
        ("{image: x, secrets: {'': x}}", "holds a name that is none for a file"),
        ("{image: x, secrets: {" + ", ".join(f"k{n}: x" for n in range(65)) + "}}", "holds more than 64 files"),
        ("{image: x, secrets: {a: x}, mounts: [{source: /a, target: /run/secrets/a}]}", "is where the server's secrets are"),
        ("{image: x, secrets: {a: '${box:}'}}", "holds ${box:…} without a name"),
        ("{url: 'http://h', secrets: {a: x}}", "servers.a.secrets: does not go with url"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_secret_file_is_a_mistake(server: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(f"servers: {{a: {server}}}", None)
    assert said in str(caught.value)
