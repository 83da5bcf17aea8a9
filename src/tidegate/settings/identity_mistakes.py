"""Mistakes in `auth:` that concern more than one value. Looks at plain data, tolerantly, as `checks` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

_Path = tuple[str | int, ...]
_ANYBODY = ("common", "organizations", "consumers")
"""In place of a directory in an address of Entra ID: any of them, and so everybody."""


def entries(auth: object) -> list[tuple[_Path, Mapping[str, object]]]:
    """Give the entries of `auth`, one or several, with the place of each."""
    if isinstance(auth, list):
        found = cast("list[object]", auth)
        return [
            (("auth", index), _mapping(each)) for index, each in enumerate(found) if each.__class__ is dict
        ]
    return [(("auth",), _mapping(auth))]


def is_local(auth: object) -> bool:
    """Tell whether whoever reaches the listener is the local user."""
    return any(entry.get("type", "local") == "local" for _, entry in entries(auth))


def mistakes(auth: object) -> Iterator[tuple[_Path, str]]:
    """Find what does not go together: where, and what."""
    found = entries(auth)
    issuers: dict[str, str] = {}
    single: set[str] = set()
    for at, entry in found:
        kind = entry.get("type", "local")
        if kind == "local" and len(found) > 1:
            yield at, "local stands alone: everybody who reaches the listener would be the local user"
        if isinstance(kind, str) and kind in ("keys", "introspection", "certificate"):
            if kind in single:
                yield at, f"is a second entry of the type {kind}, which would never be asked"
            single.add(kind)
        issuer = entry.get("trust_domain" if kind == "spiffe" else "issuer")
        if isinstance(issuer, str) and kind in ("jwt", "kubernetes", "spiffe"):
            if issuer in issuers:
                yield at, f"is of the same issuer as {issuers[issuer]}, and would never be asked"
            issuers.setdefault(issuer, f"auth[{at[-1]}]")
        if kind == "jwt":
            yield from _jwt(at, entry)
        if kind == "spiffe" and (entry.get("bundle") is None) == (entry.get("jwks") is None):
            yield at, "exactly one of bundle and jwks is needed"


def _jwt(at: _Path, entry: Mapping[str, object]) -> Iterator[tuple[_Path, str]]:
    preset, issuer, directories = (entry.get(key) for key in ("preset", "issuer", "directories"))
    text = issuer if isinstance(issuer, str) else ""
    if directories and preset != "entra":
        yield (*at, "directories"), "goes with preset: entra only"
    elif directories and text and "{tenantid}" not in text:
        yield (*at, "directories"), "goes with an issuer that has {tenantid} in it, or without one"
    if "{tenantid}" in text and not directories:
        yield (*at, "issuer"), "needs directories, which says whose {tenantid} is taken"
    if preset == "entra" and any(f"/{word}/" in f"{text}/" for word in _ANYBODY):
        yield (*at, "issuer"), "would take tokens of anybody: put {tenantid} there, and say directories"
    if not text and issuer is None and not (preset == "google" or (preset == "entra" and directories)):
        what = "is needed, or directories" if preset == "entra" else "is needed"
        yield (*at, "issuer"), what
    if preset in ("google", "cognito") and not entry.get("audience"):
        yield (*at, "audience"), f"is needed with preset: {preset}, whose tokens are for clients: name those"


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
