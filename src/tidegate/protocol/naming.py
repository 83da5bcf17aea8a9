"""Names that an endpoint shows: `server__tool`, at most 64 of `[A-Za-z0-9_-]`.

A server's name holds no underscore, so the first `__` parts the two and an uncut name is read back by
itself; a cut or cleaned one ends in a hash of the tool's own name and is read back from the catalog.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 64
"""Several model providers refuse longer tool names."""
SEPARATOR = "__"
_ALLOWED = re.compile(r"[A-Za-z0-9_-]+\Z")
_OTHERS = re.compile(r"[^A-Za-z0-9_-]")
_HASH = 8


def shown(server: str, tool: str) -> str:
    """Give the name under which a prefixed endpoint shows `server`'s `tool`. The same at every start."""
    whole = f"{server}{SEPARATOR}{tool}"
    if len(whole) <= LONGEST and _ALLOWED.match(whole):
        return whole
    digest = hashlib.sha256(tool.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    return f"{_OTHERS.sub('_', whole)[: LONGEST - _HASH - 1]}_{digest}"


def server_of(name: str) -> str | None:
    """Give the server that a prefixed name belongs to, or None where it has no prefix."""
    server, separator, _ = name.partition(SEPARATOR)
    return server if separator and server else None
