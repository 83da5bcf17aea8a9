"""URIs of resources: where they may stand, and whether patterns can judge them. Nothing is fetched or resolved."""

from __future__ import annotations

import re

LONGEST = 2048
"""Characters of a URI that is listed or read: it stands in every record of a call, and in a header."""

_ODD = re.compile(
    r"[\x00-\x20\x7f\\]"  # white space, control characters, what some take for a slash
    r"|(?:^|[/:])\.{1,2}(?:[/?#]|$)"  # dot segments
    r"|[^:/]//|:////"  # empty segments
    r"|%(?:2[defDEF]|3\d|4[1-9a-fA-F]|5[\dacfACF]|6[1-9a-fA-F]|7[\daeAE])"  # / \ and what needs no escape
    r"|^[^:]*[A-Z][^:]*:"  # a scheme in capitals
    r"|^file:(?!///)"  # `file://localhost/x` and `file:/x` are `file:///x`
    r"|^https?:(?://[^/?#]*[A-Z@]|(?!//))"  # a host in capitals, or behind somebody's name
)


def is_plain(uri: str) -> bool:
    """Tell whether a URI is written in the one usual way, so that a pattern that matches it means it.

    `file:///pub/../secret`, `file:///pub/%2e%2e/secret` and `FILE:///secret` may be the same to a server.
    """
    return uri.isprintable() and _ODD.search(uri) is None


def is_sound(uri: str) -> bool:
    """Tell whether a URI, or a template, can stand in a list, a record and a header."""
    return 0 < len(uri) <= LONGEST and uri.isprintable()
