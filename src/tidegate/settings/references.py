"""`${kind:name}` in values: what they stand for becomes a Secret.

`${env:NAME}` and `${file:path}` are read here, from the environment that is given and the files named.
What other kinds keep is looked up before, by whoever knows them, and comes in as an argument. Messages
name the secret, never what it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from tidegate.domain.errors import SecretUnavailable
from tidegate.domain.server import Secret
from tidegate.secret_text import checked, from_file

HERE = ("env", "file")
"""Kinds that are read here."""
ELSEWHERE = ("secret", "docker", "helper", "vault")
"""Built-in kinds that are not."""

_PART = re.compile(r"\$\$\{|\$\{(?P<kind>[a-z]*):?(?P<name>[^{}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_WHOLE = re.compile(r"(?<!\$)\$\{(?P<kind>[a-z]+):(?P<name>[^{}]+)\}")
_ANY = re.compile(rf"(?<!\$)\$\{{({'|'.join((*HERE, *ELSEWHERE))}):")
_MOST = 1000


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """What names a secret: `${kind:name}`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Known:
    """The kinds there are beside those read here, and what was found of them."""

    kinds: tuple[str, ...] = ()
    found: Mapping[Reference, Secret | SecretUnavailable] | None = None
    """None where nobody looked: a value is empty then."""
    used: dict[Reference, Secret] = field(default_factory=dict[Reference, Secret])
    """Collects what was put into values."""


def holds_reference(text: str) -> bool:
    """Tell whether a text holds `${env:` or another kind that is not written `$${`."""
    return _ANY.search(text) is not None


def unescaped(text: str) -> str:
    """Read `$${env:` as `${env:` in a text that takes no references."""
    return re.sub(rf"\$\$\{{(?=({'|'.join((*HERE, *ELSEWHERE))}):)", "${", text)


def references(data: object) -> Iterator[Reference]:
    """Find the references in plain data, however deep."""
    if isinstance(data, str):
        for match in _WHOLE.finditer(data):
            yield Reference(match["kind"], match["name"])
    elif isinstance(data, dict):
        for value in cast("dict[str, object]", data).values():
            yield from references(value)
    elif isinstance(data, list):
        for value in cast("list[object]", data):
            yield from references(value)


def wanted(data: object, kinds: tuple[str, ...]) -> tuple[Reference, ...]:
    """Give the references of these kinds, each once.

    Raises:
        ValueError: there are too many.
    """
    found = tuple(dict.fromkeys(each for each in references(data) if each.kind in kinds))
    if len(found) > _MOST:
        raise ValueError(f"there are more than {_MOST} references to secrets")
    return found


def expand(text: str, base: Path, environment: Mapping[str, str], known: Known | None = None) -> str | Secret:
    """Replace the references in a text. Without any, the text itself (`$${` read as `${`).

    Raises:
        ValueError: a reference is malformed, or what it names cannot be had.
    """
    known = known if known is not None else Known()
    found: list[Reference] = []

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        if not match[0].endswith("}"):
            raise ValueError("holds a ${ that is not closed; write $${ for the text itself")
        reference = Reference(match["kind"], match["name"])
        value = _value(reference, base, environment, known)
        if reference not in known.used:
            known.used[reference] = Secret(value)
        found.append(reference)
        return value

    expanded = _PART.sub(replace, text)
    return Secret(expanded, tuple(str(each) for each in found)) if found else expanded


def _value(reference: Reference, base: Path, environment: Mapping[str, str], known: Known) -> str:
    match reference.kind:
        case "env":
            return _variable(reference.name, environment)
        case "file":
            if not reference.name:
                raise ValueError("holds ${file:…} without a path")
            return from_file(base / reference.name, f"the file {reference.name}")
        case kind if kind in known.kinds:
            return _kept(reference, known)
        case _:
            kinds = "".join(f", ${{{kind}:…}}" for kind in known.kinds)
            raise ValueError(
                f"holds a ${{…}} that is no reference (known: ${{env:NAME}}, ${{file:path}}{kinds}; "
                "$${ is the text ${)"
            )


def _kept(reference: Reference, known: Known) -> str:
    if not reference.name:
        raise ValueError(f"holds ${{{reference.kind}:…}} without a name")
    if known.found is None:
        return ""
    found = known.found.get(reference)
    if isinstance(found, Secret):
        return found.reveal()
    raise ValueError(str(found) if found is not None else f"{reference} was not looked up")


def _variable(name: str, environment: Mapping[str, str]) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("holds ${env:…} without the name of a variable")
    value = environment.get(name)
    if value is None:
        raise ValueError(f"the environment variable {name} is not set")
    return checked(value, f"the environment variable {name}")
