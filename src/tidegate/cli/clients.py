"""Where MCP clients keep their configuration, and how a server at a URL is written there.

Sources (November 2026): code.claude.com/docs/en/mcp; code.visualstudio.com/docs/copilot/reference/mcp-configuration;
cursor.com/docs/mcp; for Claude Desktop, whose file takes only programs, modelcontextprotocol.io/docs and
npmjs.com/package/mcp-remote, the program that bridges to a URL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Home:
    """Where a user's files are: `platform` as `sys.platform` names it."""

    platform: str
    home: Path
    environment: Mapping[str, str]

    def config(self, name: str) -> Path:
        """Give the directory in which an application of that name keeps its configuration."""
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support" / name
        if self.platform == "win32":
            return Path(self.environment.get("APPDATA") or self.home / "AppData" / "Roaming") / name
        return Path(self.environment.get("XDG_CONFIG_HOME") or self.home / ".config") / name


@dataclass(frozen=True, slots=True)
class McpClient:
    """One client: the key its servers are under, and what it says of a URL."""

    title: str
    section: str
    path: Callable[[Home], Path]
    entry: Callable[[str, bool], Entry]
    """Takes the URL and whether a key is to be sent. The key itself is never written."""
    comments: bool = False
    """Whether its file may hold comments."""
    after: str = ""
    """What the user has to do then."""
    inputs: tuple[Entry, ...] = ()
    """What it asks its user for where a key is to be sent."""


def _with_key(entry: Entry, value: str, keyed: bool) -> Entry:
    return {**entry, "headers": {"Authorization": f"Bearer {value}"}} if keyed else entry


def _claude_code(url: str, keyed: bool) -> Entry:
    return _with_key({"type": "http", "url": url}, "${TIDEGATE_KEY}", keyed)


def _vscode(url: str, keyed: bool) -> Entry:
    return _with_key({"type": "http", "url": url}, "${input:tidegate-key}", keyed)


def _cursor(url: str, keyed: bool) -> Entry:
    return _with_key({"url": url}, "${env:TIDEGATE_KEY}", keyed)


def _claude_desktop(url: str, keyed: bool) -> Entry:
    args = ["-y", "mcp-remote", url, "--transport", "http-only"]
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1"):
        args.append("--allow-http")  # mcp-remote takes plain HTTP unasked from these two names only
    if keyed:
        # Without a space after the colon: on Windows the client splits arguments there. mcp-remote fills
        # in the variable from its environment.
        args += ["--header", "Authorization:Bearer ${TIDEGATE_KEY}"]
    return {"command": "npx", "args": args}


CLIENTS: dict[str, McpClient] = {
    "claude-desktop": McpClient(
        "Claude Desktop",
        "mcpServers",
        lambda home: home.config("Claude") / "claude_desktop_config.json",
        _claude_desktop,
        after="Its file takes programs only, so it reaches the gateway through mcp-remote, which npx fetches "
        "(Node.js is needed). Quit Claude Desktop and start it again.",
    ),
    "claude-code": McpClient(
        "Claude Code",
        "mcpServers",
        lambda home: home.home / ".claude.json",
        _claude_code,
        after="Claude Code takes it up at its next start.",
    ),
    "vscode": McpClient(
        "VS Code",
        "servers",
        lambda home: home.config("Code") / "User" / "mcp.json",
        _vscode,
        comments=True,
        after="VS Code takes it up at once and asks before it starts the server.",
        inputs=(
            {
                "type": "promptString",
                "id": "tidegate-key",
                "description": "tidegate API key",
                "password": True,
            },
        ),
    ),
    "cursor": McpClient(
        "Cursor",
        "mcpServers",
        lambda home: home.home / ".cursor" / "mcp.json",
        _cursor,
        after="Cursor takes it up at its next start.",
    ),
}
