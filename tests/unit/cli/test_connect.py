"""`tidegate connect`: a client's configuration keeps everything that was there."""

from __future__ import annotations

import json
import stat
from pathlib import Path, PurePosixPath

import pytest

from tests.unit.cli.conftest import Ran, run
from tidegate.cli.clients import CLIENTS, Home

URL = "http://127.0.0.1:8080/mcp"


def connect(client: str, file: Path, *options: str) -> Ran:
    return run("connect", client, "--url", URL, "--file", str(file), *options)


@pytest.mark.parametrize(
    ("client", "written"),
    [
        ("claude-code", {"mcpServers": {"tidegate": {"type": "http", "url": URL}}}),
        ("cursor", {"mcpServers": {"tidegate": {"url": URL}}}),
        ("vscode", {"servers": {"tidegate": {"type": "http", "url": URL}}}),
        ("claude-desktop", {"mcpServers": {"tidegate": {"command": "npx", "args": ["-y", "mcp-remote", URL, "--transport", "http-only"]}}}),
    ],
)  # fmt: skip
def test_a_new_file_holds_the_gateway_as_the_client_wants_it(
    tmp_path: Path, client: str, written: object
) -> None:
    file = tmp_path / "new" / "config.json"
    ran = connect(client, file)
    assert ran.status == 0
    assert ran.out.startswith(f"wrote {file}\n")
    assert json.loads(file.read_text()) == written
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["config.json"]


def test_everything_that_was_there_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    old = {
        "theme": "d\u00e4rk",
        "mcpServers": {"other": {"command": "x", "env": {"K": "1"}}, "tidegate": {"url": "http://old"}},
        "projects": {"/p": {"history": [1, 2.5, None]}},
    }
    file.write_text(json.dumps(old, ensure_ascii=False))
    file.chmod(0o640)
    ran = connect("claude-code", file)
    new = json.loads(file.read_text())
    assert new == {
        **old,
        "mcpServers": {
            "other": {"command": "x", "env": {"K": "1"}},
            "tidegate": {"type": "http", "url": URL},
        },
    }
    assert list(new) == list(old)
    assert "därk" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    backup = tmp_path / "config.json.tidegate-backup"
    assert json.loads(backup.read_text()) == old
    assert stat.S_IMODE(backup.stat().st_mode) == 0o640
    assert str(backup) in ran.out


def written(file: Path) -> tuple[int, ...]:
    """Give what a write would change; when a file was read last may change by reading it."""
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(f'{{"mcpServers":{{"tidegate":{{"url":"{URL}"}}}}}}')
    before = written(file)
    ran = connect("cursor", file)
    assert (ran.status, ran.out) == (0, f"{file} has it already; nothing was changed\n")
    assert written(file) == before
    assert connect("cursor", file, "--json").json()["changed"] is False


def test_a_dry_run_shows_the_difference_and_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{\n  "a": 1\n}\n')
    ran = connect("cursor", file, "--dry-run", "--name", "gate")
    assert ran.status == 0
    assert f'+      "url": "{URL}"' in ran.out
    assert '+    "gate": {' in ran.out
    assert file.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [file]


def test_comments_are_not_lost_but_the_user_is_told_what_to_add(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    text = '{\n  // my servers\n  "servers": {},\n}\n'
    file.write_text(text)
    ran = connect("vscode", file)
    assert ran.status == 1
    assert "may hold comments, which would be lost, so it was left alone; add this to it:" in ran.err
    assert json.loads(ran.err.partition("add this to it:\n")[2]) == {
        "servers": {"tidegate": {"type": "http", "url": URL}}
    }
    assert file.read_text() == text


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b'{"mcpServers": []}',
        b'{"mcpServers": {}, "mcpServers": {}}',
        b"{",
        b"\xff\xfe",
        b'{"a": NaN, "b": }',
    ],
)
def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    ran = connect("claude-code", file)
    assert ran.status == 1
    assert "so it was left alone" in ran.err
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real = tmp_path / "dotfiles" / "config.json"
    real.write_text("{}")
    link = tmp_path / "config.json"
    link.symlink_to(real)
    connect("cursor", link)
    assert link.is_symlink()
    assert "tidegate" in real.read_text()


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ("claude-code", "Bearer ${TIDEGATE_KEY}"),
        ("cursor", "Bearer ${env:TIDEGATE_KEY}"),
        ("vscode", "Bearer ${input:tidegate-key}"),
        ("claude-desktop", "Authorization:Bearer ${TIDEGATE_KEY}"),
    ],
)
def test_a_key_is_referred_to_and_never_written(tmp_path: Path, client: str, said: str) -> None:
    file = tmp_path / "config.json"
    arguments = ("connect", client, "--url", URL, "--file", str(file), "--with-key")
    assert run(*arguments, env={"TIDEGATE_KEY": "tg_canary"}).status == 0
    assert said in file.read_text()
    assert "canary" not in file.read_text()
    if client == "vscode":
        assert run(*arguments).out.endswith("nothing was changed\n")
        assert [each["id"] for each in json.loads(file.read_text())["inputs"]] == ["tidegate-key"]


def test_plain_http_to_another_machine_is_allowed_to_the_bridge_by_name(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    run("connect", "claude-desktop", "--url", "http://gate.internal/mcp", "--file", str(file))
    assert "--allow-http" in json.loads(file.read_text())["mcpServers"]["tidegate"]["args"]


@pytest.mark.parametrize(
    ("platform", "environment", "places"),
    [
        ("linux", {}, ["/h/.config/Claude/claude_desktop_config.json", "/h/.claude.json", "/h/.config/Code/User/mcp.json", "/h/.cursor/mcp.json"]),
        ("linux", {"XDG_CONFIG_HOME": "/x"}, ["/x/Claude/claude_desktop_config.json", "/h/.claude.json", "/x/Code/User/mcp.json", "/h/.cursor/mcp.json"]),
        ("darwin", {}, ["/h/Library/Application Support/Claude/claude_desktop_config.json", "/h/.claude.json", "/h/Library/Application Support/Code/User/mcp.json", "/h/.cursor/mcp.json"]),
        ("win32", {"APPDATA": "/a"}, ["/a/Claude/claude_desktop_config.json", "/h/.claude.json", "/a/Code/User/mcp.json", "/h/.cursor/mcp.json"]),
    ],
)  # fmt: skip
def test_each_platform_has_its_own_places(
    platform: str, environment: dict[str, str], places: list[str]
) -> None:
    home = Home(platform, Path("/h"), environment)
    assert [PurePosixPath(client.path(home)) for client in CLIENTS.values()] == [
        PurePosixPath(place) for place in places
    ]


def test_the_url_is_that_of_the_settings_file(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.yaml"
    config.write_text("auth: {type: keys}\npublic_url: https://gate.example.com\nendpoints: {/claims: {}}\n")
    file = tmp_path / "c.json"
    ran = run("connect", "cursor", "--config", str(config), "--file", str(file), "--endpoint", "/claims")
    assert ran.status == 0
    assert "https://gate.example.com/claims" in file.read_text()
    ran = run("connect", "cursor", "--config", str(config), "--file", str(file))
    assert (ran.status, ran.err) == (2, "there is no endpoint /mcp (known: /claims)\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("netscape",), "there is no client netscape (known: claude-desktop, claude-code, vscode, cursor)\n"),
        (("cursor", "--url", "http://u:canary@h"), "--url: should hold no user or password\n"),
        (("cursor", "--url", "nonsense"), "--url: should be a URL that begins with http:// or https://\n"),
        (
            ("cursor", "--url", URL, "--name", "a b"),
            "--name: should be at most 64 letters, digits, - and _\n",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: tuple[str, ...], said: str) -> None:
    ran = run("connect", *arguments)
    assert (ran.status, ran.err) == (2, said)
