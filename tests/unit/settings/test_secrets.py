"""References become secrets; what they stand for is in no message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings.given import mistakes, only_mistake, read
from tidegate.domain.server import Secret

CANARY = "hunter2-canary"


def env(value: str, base: Path, **environment: str) -> str | Secret:
    return (
        read(f"servers: {{a: {{command: [x], env: {{A: {value!r}}}}}}}", base, **environment)
        .servers[0]
        .env["A"]
    )


def test_references_may_stand_beside_text_and_each_other(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY + "\n")
    value = env("a-${env:ONE}-${file:key}-$${env:TWO}", tmp_path, ONE="1")
    assert isinstance(value, Secret)
    assert value.reveal() == f"a-1-{CANARY}-${{env:TWO}}"


def test_what_a_reference_stands_for_is_not_expanded_again(tmp_path: Path) -> None:
    value = env("${env:ONE}", tmp_path, ONE="${env:TWO}", TWO="2")
    assert value == Secret("${env:TWO}")


def test_text_without_references_is_no_secret(tmp_path: Path) -> None:
    assert env("plain $ {x} $VAR", tmp_path) == "plain $ {x} $VAR"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${env:NOPE}", "the environment variable NOPE is not set"),
        ("${env:}", "holds ${env:…} without the name of a variable"),
        ("${env:A B}", "holds ${env:…} without the name of a variable"),
        ("${file:}", "holds ${file:…} without a path"),
        ("${file:nope}", "the file nope cannot be read: No such file or directory"),
        ("${file:.}", "the file . cannot be read: Is a directory"),
        ("${file:binary}", "the file binary is not text (UTF-8)"),
        ("${file:large}", "the file large is larger than 65536 bytes"),
        ("${file:nul}", "the file nul holds a NUL character"),
        ("${vault:x}", "holds a ${…} that is no reference (known: ${env:NAME}, ${file:path}"),
        ("${env:A", "holds a ${ that is not closed"),
    ],
)
def test_a_reference_that_cannot_be_had_is_a_mistake_with_its_line(
    tmp_path: Path, value: str, said: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"x" * 65537)
    (tmp_path / "nul").write_bytes(b"a\0b")
    found = only_mistake(f"servers:\n  a:\n    command: [x]\n    env: {{A: '{value}'}}", tmp_path)
    assert found.startswith("4: servers.a.env.A: ")
    assert said in found


def test_no_message_holds_a_value(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY)
    found = mistakes(
        f"""
        outbound: {{proxy: "ftp://user:{CANARY}@proxy"}}
        public_url: "https://user:{CANARY}@host"
        servers:
          a:
            url: "https://user:{CANARY}@host/"
            headers: {{Authorization: "Bearer ${{file:key}}\\n", X: [{CANARY}], Host: "${{env:KEY}}"}}
          b: {{command: [x], env: {{K: [{CANARY}], L: "{CANARY}${{nope}}"}}}}
        """,
        tmp_path,
        KEY=CANARY,
    )
    assert len(found) >= 6
    assert CANARY not in "\n".join(found)


def test_a_secret_is_not_shown_with_the_settings(tmp_path: Path) -> None:
    settings = read("servers: {a: {url: 'http://h', headers: {A: '${env:KEY}'}}}", tmp_path, KEY=CANARY)
    assert CANARY not in repr(settings)


@pytest.mark.parametrize(
    "server", ["{command: [x, '${env:A}']}", "{url: 'http://h/${env:A}'}", "{image: x, args: ['${file:a}']}"]
)
def test_a_reference_where_none_is_taken_is_told_of(server: str) -> None:
    assert "which is taken in env, secrets, headers and client_secret only" in only_mistake(
        f"servers: {{a: {server}}}", A="x"
    )


def test_other_words_in_braces_stay_an_argument() -> None:
    (server,) = read("servers: {a: {image: x, args: ['echo ${HOME}', '$${env:A}']}}").servers
    assert getattr(server.launch, "args", None) == ("echo ${HOME}", "${env:A}")
