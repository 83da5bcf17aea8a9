"""The text of one secret: how large it may be, and how it is read from a file.

Messages say which file, never what is in it. Knows no settings and no extension, both of which use it.
"""

from __future__ import annotations

from pathlib import Path

MAX_SECRET = 64 * 1024
"""Bytes of one secret: more than any key or certificate chain, less than would hurt."""


def checked(value: str, named: str) -> str:
    """Give a value that can be a variable, a header or a file.

    Raises:
        ValueError: it is too large, holds a NUL character, or is not text.
    """
    if "\0" in value:
        raise ValueError(f"{named} holds a NUL character")
    try:
        size = len(value[: MAX_SECRET + 1].encode())
    except UnicodeEncodeError:  # which holds the value itself
        raise ValueError(f"{named} is not text (UTF-8)") from None
    if size > MAX_SECRET:
        raise ValueError(f"{named} is larger than {MAX_SECRET} bytes")
    return value


def from_file(path: Path, named: str) -> str:
    """Read a file's text, without the line break at its end.

    Raises:
        ValueError: it cannot be read, is too large, or is not text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise ValueError(f"{named} cannot be read: {why}") from None
    return from_bytes(data, named)


def from_bytes(data: bytes, named: str) -> str:
    """Read a secret's text, without the line break that editors end files with.

    Raises:
        ValueError: it is too large, or is not text.
    """
    if len(data) > MAX_SECRET:
        raise ValueError(f"{named} is larger than {MAX_SECRET} bytes")
    try:
        value = data.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{named} is not text (UTF-8)") from None
    return checked(value.removesuffix("\n").removesuffix("\r"), named)
