"""Kubernetes: pods by the tokens of their service accounts, which a cluster issues as an OpenID Connect issuer.

A subject `system:serviceaccount:<namespace>:<name>` is mapped to roles as `<namespace>/<name>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

from tidegate.domain.errors import Unauthenticated
from tidegate.domain.principal import Attribute, Principal
from tidegate.extensions.identity.claims import ClaimMapping, Claims
from tidegate.extensions.identity.web import Unreachable

_SUBJECT = re.compile(
    r"system:serviceaccount:(?P<namespace>[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)"
    r":(?P<name>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
)
_CLAIM = "kubernetes.io"
_LARGEST = 16 * 1024


class AccountMapping:
    """From a service account's token to a principal."""

    def __init__(self, mapping: ClaimMapping) -> None:
        """`mapping` says what `<namespace>/<name>` may be; it reads no claim for roles."""
        self._mapping = mapping

    def principal(self, issuer: str, claims: Claims) -> Principal:
        """Say which service account it is.

        Raises:
            Unauthenticated: the token is of none, or says two things.
        """
        subject = claims.get("sub")
        match = _SUBJECT.fullmatch(subject) if isinstance(subject, str) else None
        if match is None:
            raise Unauthenticated("the token is not of a service account")
        namespace, name = match["namespace"], match["name"]
        told = _object(claims.get(_CLAIM))
        account = _object(told.get("serviceaccount"))
        if told.get("namespace", namespace) != namespace or account.get("name", name) != name:
            raise Unauthenticated("the token names two service accounts")
        found = self._mapping.principal(issuer, claims)
        attributes: dict[str, Attribute] = {"namespace": namespace, "service_account": name}
        pod = _object(told.get("pod")).get("name")
        if isinstance(pod, str) and len(pod) <= 253:
            attributes["pod"] = pod
        return replace(
            found,
            roles=found.roles | self._mapping.roles.roles([f"{namespace}/{name}"]),
            groups=found.groups | {f"system:serviceaccounts:{namespace}"},
            attributes=attributes | dict(found.attributes),
        )

    def granted(self, claims: Claims) -> frozenset[str] | None:
        """Service accounts have no scopes."""
        return None


def from_file(path: Path) -> Callable[[], str]:
    """Give what reads the gateway's own token from a file, anew each time: the cluster replaces it."""

    def read() -> str:
        try:
            with path.open("rb") as file:
                text = file.read(_LARGEST).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unreachable(f"{path} cannot be read ({type(error).__name__})") from None
        if not text or not text.isprintable():
            raise Unreachable(f"{path} holds no token")
        return text

    return read


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
