"""Files that cannot be settings, and what is said before those that can be are taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.settings.given import FewExtensions
from tidegate.domain.errors import SettingsError
from tidegate.settings import load, state_directory


def complaint(path: Path, **overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(path, FewExtensions(), overrides=overrides)
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ": is empty"),
        (b"# nothing\n\n", ": is empty"),
        (b"---\n", ": is empty"),
        (b"null", ": is empty"),
        (b"\x7fELF\x02\x01\xff\xfe", ":1: is not text (UTF-8)"),
        (b"version: 1\n\xff", ":2: is not text (UTF-8)"),
        (b"version: 1\n\0", ":2: not YAML: "),
        (b"- a\n- b\n", ":1: should be a mapping of settings at its top"),
        (b"hello", ":1: should be a mapping of settings at its top"),
        (b"a: [1\nb: 2\n", ":2: not YAML: "),
        (b"a: 1\n b: 2\n", ":2: not YAML: "),
        (b"version: 1\n---\nversion: 1\n", ":2: a second document begins here"),
        (b"[" * 100_000, ": not YAML: |nested more than 32 deep"),
        (b"#" * (1024 * 1024 + 1), ": is larger than 1048576 bytes"),
        (b"a: *b", ":1: the alias *b has no anchor before it|:1: not YAML: "),
        (b"a: &a [*a]", ":1: the alias *a stands inside what it means"),
        (b"? [a]\n: b", ":1: a list or mapping as a key"),
        (b"servers: {a: {command: [x], env: {A: !!python/object:os.system x}}}", ":1: tags (!…) are not taken"),
        (b"a: &x {}\n<<: *x", ":2: merge keys (<<) are not taken"),
    ],
)  # fmt: skip
def test_what_is_no_settings_file_gets_one_clear_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "tidegate.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(path, FewExtensions())
    first = [line for line in caught.value.problems if "known key" not in line]
    assert len(first) == 1
    assert first[0].startswith(f"{path}:")
    assert any(each in first[0] for each in said.split("|"))


def test_a_few_aliases_of_aliases_do_not_fill_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    path = tmp_path / "tidegate.yaml"
    path.write_text("\n".join(lines))
    assert "more than 50000 values, aliases counted as what they stand for" in complaint(path)


def test_a_chain_of_aliases_counts_as_deep_as_it_is(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 40)]
    path = tmp_path / "tidegate.yaml"
    path.write_text("\n".join(lines))
    assert "nested more than 32 deep, aliases counted" in complaint(path)


def test_a_number_of_many_digits_is_no_work(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.yaml"
    path.write_text("version: " + "9" * 100_000)
    with pytest.raises(SettingsError, match="a number of more than 18 digits"):
        load(path, FewExtensions())


def test_a_file_that_is_not_there_gets_one_clear_line(tmp_path: Path) -> None:
    assert complaint(tmp_path / "none.yaml") == f"{tmp_path}/none.yaml: there is no such file"


def test_a_directory_gets_one_clear_line(tmp_path: Path) -> None:
    assert complaint(tmp_path) == f"{tmp_path}: is a directory, not a settings file"


def test_a_device_gets_one_clear_line() -> None:
    assert complaint(Path("/dev/zero")) == "/dev/zero: is not a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_gets_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.yaml"
    path.write_text("{}")
    path.chmod(0)
    assert complaint(path) == f"{path}: cannot be read: Permission denied"


def test_a_path_that_is_none_gets_one_clear_line() -> None:
    assert complaint(Path("a\0b")).endswith("cannot be read: not a path")


def test_paths_are_relative_to_the_file_wherever_the_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "tidegate.yaml").write_text("state: var")
    monkeypatch.chdir(tmp_path)
    assert load(Path("etc/tidegate.yaml"), FewExtensions()).state == tmp_path / "etc" / "var"


def test_a_byte_order_mark_and_windows_line_ends_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.yaml"
    path.write_bytes("\ufeffversion: 1\r\nlisten: 127.0.0.1:1\r\n".encode())
    assert load(path, FewExtensions()).listen.port == 1


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.yaml"
    path.write_text("listen: 127.0.0.1:1\n")
    overrides = {"listen": "127.0.0.1:2", "logs.format": "json"}
    settings = load(path, FewExtensions(), overrides=overrides)
    assert (settings.listen.port, settings.logs.format) == (2, "json")


def test_a_mistake_on_the_command_line_is_said_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.yaml"
    path.write_text("listen: 127.0.0.1:1\n")
    assert complaint(path, listen="0.0.0.0:1").startswith("command line: listen: is beyond loopback")


def test_the_state_directory_is_known_without_the_secrets(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.yaml"
    path.write_text("state: var\nservers: {a: {url: 'http://h', headers: {A: '${env:NOT_SET_HERE}'}}}\n")
    assert state_directory(path) == tmp_path / "var"
    path.write_text("servers: 3\nstate: [x]\n")
    with pytest.raises(SettingsError, match="2: state: "):
        state_directory(path)
