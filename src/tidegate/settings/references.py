"""`${env:NAME}` and `${file:path}` in values: what they stand for becomes a Secret.

Reads the environment it is given and the files named; messages name the variable or the file, never
what was in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tidegate.domain.server import Secret

MAX_SECRET = 64 * 1024

_PART = re.compile(r"\$\$\{|\$\{(?P<kind>[a-z]*):?(?P<name>[^{}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def holds_reference(text: str) -> bool:
    """Tell whether a text holds `${env:` or `${file:` that is not written `$${`."""
    return re.search(r"(?<!\$)\$\{(env|file):", text) is not None


def expand(text: str, base: Path, environment: Mapping[str, str]) -> str | Secret:
    """Replace the references in a text. Without any, the text itself (`$${` read as `${`).

    Raises:
        ValueError: a reference is malformed, or what it names cannot be had.
    """
    found = False

    def replace(match: re.Match[str]) -> str:
        nonlocal found
        if match[0] == "$${":
            return "${"
        if not match[0].endswith("}"):
            raise ValueError("holds a ${ that is not closed; write $${ for the text itself")
        found = True
        match match["kind"]:
            case "env":
                return _variable(match["name"], environment)
            case "file":
                return _file(match["name"], base)
            case _:
                raise ValueError(
                    "holds a ${…} that is no reference (known: ${env:NAME}, ${file:path}; $${ is the text ${)"
                )

    expanded = _PART.sub(replace, text)
    return Secret(expanded) if found else expanded


def _variable(name: str, environment: Mapping[str, str]) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("holds ${env:…} without the name of a variable")
    value = environment.get(name)
    if value is None:
        raise ValueError(f"the environment variable {name} is not set")
    return _checked(value, f"the environment variable {name}")


def _file(name: str, base: Path) -> str:
    if not name:
        raise ValueError("holds ${file:…} without a path")
    path = base / name
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise ValueError(f"the file {name} cannot be read: {why}") from None
    if len(data) > MAX_SECRET:
        raise ValueError(f"the file {name} is larger than {MAX_SECRET} bytes")
    try:
        value = data.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the file {name} is not text (UTF-8)") from None
    # Editors end files with a newline that is no part of the secret.
    return _checked(value.removesuffix("\n").removesuffix("\r"), f"the file {name}")


def _checked(value: str, what: str) -> str:
    if "\0" in value:
        raise ValueError(f"{what} holds a NUL character")
    return value
