"""The extension `io.modelcontextprotocol/skills` (SEP-2640) of the conformance fixture: one skill of two files."""

from __future__ import annotations

import hashlib
from typing import Any

import mcp_types as types
from conformance_call import Context, Json
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

EXTENSION = "io.modelcontextprotocol/skills"
_ROOT = "skill://conformance-notes"
_SKILL = f"{_ROOT}/SKILL.md"
_FRONT = {"name": "conformance-notes", "description": "How to take notes about conformance."}
_FILES = {
    _SKILL: "---\nname: {name}\ndescription: {description}\n---\n\nTake notes.\n".format(**_FRONT),
    f"{_ROOT}/references/FORMS.md": "A form to fill in.\n",
}
_DIRECTORY = "inode/directory"


class _Named(types.RequestParams):
    uri: str


def listed() -> list[Json]:
    """Give the skill's entry in the list of resources."""
    return [{"uri": _SKILL, "mimeType": "text/markdown", **_FRONT}]


def content(uri: str) -> Json | None:
    """Give a file, or None where there is none of that URI."""
    found = _FILES.get(uri)
    return None if found is None else {"mimeType": "text/markdown", "text": found}


def _entry() -> Json:
    files = [
        {
            "uri": uri,
            "digest": f"sha256:{hashlib.sha256(held.encode()).hexdigest()}",
            "size": len(held.encode()),
        }
        for uri, held in _FILES.items()
    ]
    return {"uri": _SKILL, "frontmatter": _FRONT, "resources": files}


_CACHED: Json = {"ttlMs": 0, "cacheScope": "private"}


async def _list(ctx: Context, params: types.PaginatedRequestParams) -> Json:
    return {"skills": [_entry()], **_CACHED}


async def _get(ctx: Context, params: _Named) -> Json:
    if params.uri != _SKILL:
        raise MCPError(code=types.INVALID_PARAMS, message="no such skill", data={"uri": params.uri})
    return {"skill": _entry(), **_CACHED}


async def _read_directory(ctx: Context, params: _Named) -> Json:
    below = f"{params.uri.rstrip('/')}/"
    names = {uri.removeprefix(below).partition("/")[0::2] for uri in _FILES if uri.startswith(below)}
    if not names:
        raise MCPError(code=types.INVALID_PARAMS, message="no such directory", data={"uri": params.uri})
    children = [
        {"uri": f"{below}{name}", "name": name, "mimeType": _DIRECTORY if deeper else "text/markdown"}
        for name, deeper in sorted(names)
    ]
    return {"resources": children, **_CACHED}


def register(server: Server[Any]) -> None:
    """Put the methods in place and declare the extension."""
    server.extensions[EXTENSION] = {"directoryRead": True}
    server.add_request_handler("skills/list", types.PaginatedRequestParams, _list)
    server.add_request_handler("skills/get", _Named, _get)
    server.add_request_handler("resources/directory/read", _Named, _read_directory)
