"""The forms that servers ask with: a flat schema read into fields, and what a user types into values.

Pure: it shows nothing and asks nobody. Values are checked as the schema says, but for what it may not
say in a form (patterns, nested values). MCP 2026-07-28, client/elicitation, requested schema.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

Value = str | int | float | bool | list[str]
Schema = dict[str, Any]

MAX_FIELDS = 50
MAX_CHOICES = 200
MAX_NAME = 200
MAX_TEXT = 4000
"""Characters of one value. A terminal gives no longer line."""

_YES, _NO = frozenset({"yes", "y", "true", "on", "1"}), frozenset({"no", "n", "false", "off", "0"})
_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes or no"}


class FormError(ValueError):
    """The schema is none of a form. The message says why, in words of our own."""


@dataclass(frozen=True, slots=True)
class Field:
    """One question of a form."""

    name: str
    kind: str
    """A JSON type: string, integer, number, boolean or array."""
    needed: bool
    schema: Schema
    choices: Sequence[tuple[str, str]] = ()
    """Values to choose from, each with its title."""
    default: Value | None = None

    @property
    def title(self) -> str:
        """What it is called, in one line."""
        return _words(self.schema.get("title"), 200) or self.name

    @property
    def about(self) -> str:
        """What the server says of it, in one line."""
        return _words(self.schema.get("description"), 500)

    @property
    def expects(self) -> str:
        """What it takes, in words."""
        if self.choices:
            return "some of the choices" if self.kind == "array" else "one of the choices"
        form = self.schema.get("format")
        known = self.kind == "string" and isinstance(form, str) and form in _FORMATS
        return str(form) if known else _KINDS[self.kind]

    def shown(self, value: Value) -> str:
        """Give a value as it is typed."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        return ", ".join(value) if isinstance(value, list) else str(value)

    def read(self, texts: Sequence[str]) -> Value:
        """Read what was typed; several texts are several choices.

        Raises:
            ValueError: it is not what the schema takes; the message says what is.
        """
        if self.kind == "array":
            return self._many(texts)
        if len(texts) != 1:
            raise ValueError("takes one value")
        text = texts[0]
        if len(text) > MAX_TEXT:
            raise ValueError(f"takes at most {MAX_TEXT} characters")
        if self.choices:
            return self._one(text)
        if self.kind == "boolean":
            return _boolean(text)
        return self._text(text) if self.kind == "string" else self._number(text)

    def _one(self, text: str) -> str:
        # By value, by title, by the number that it is shown with, in this order.
        for value, _ in self.choices:
            if text == value:
                return value
        for value, title in self.choices:
            if text.strip().casefold() == title.casefold():
                return value
        if text.strip().isascii() and text.strip().isdecimal() and len(text) < 10:
            number = int(text)
            if 1 <= number <= len(self.choices):
                return self.choices[number - 1][0]
        raise ValueError(f"should be one of the {len(self.choices)} choices")

    def _many(self, texts: Sequence[str]) -> list[str]:
        found: list[str] = []
        for text in texts:
            try:
                values = [self._one(text)]
            except ValueError:
                values = [self._one(part.strip()) for part in text.split(",") if part.strip()]
            found = list(dict.fromkeys([*found, *values]))
        least, most = _bound(self.schema, "minItems"), _bound(self.schema, "maxItems")
        if least is not None and len(found) < least:
            raise ValueError(f"takes at least {least} of the choices")
        if most is not None and len(found) > most:
            raise ValueError(f"takes at most {most} of the choices")
        return found

    def _text(self, text: str) -> str:
        least, most = _bound(self.schema, "minLength"), _bound(self.schema, "maxLength")
        if least is not None and len(text) < least:
            raise ValueError(f"takes at least {least} characters")
        if most is not None and len(text) > most:
            raise ValueError(f"takes at most {most} characters")
        form = self.schema.get("format")
        if isinstance(form, str) and form in _FORMATS and not _FORMATS[form](text):
            raise ValueError(f"should be {_EXAMPLES[form]}")
        return text

    def _number(self, text: str) -> int | float:
        try:
            value = int(text) if self.kind == "integer" or _whole(text) else float(text)
        except ValueError:
            raise ValueError(f"should be a {_KINDS[self.kind]}") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"should be a {_KINDS[self.kind]}")
        least, most = _bound(self.schema, "minimum"), _bound(self.schema, "maximum")
        if least is not None and value < least:
            raise ValueError(f"should be {least} or more")
        if most is not None and value > most:
            raise ValueError(f"should be {most} or less")
        return value


def read_form(schema: object) -> list[Field]:
    """Read a requested schema into its fields, in the server's order.

    Raises:
        FormError: it is no flat schema, or too large.
    """
    whole = cast(Schema, schema) if isinstance(schema, dict) else {}
    properties = whole.get("properties", {})
    if (
        whole.get("type", "object") != "object"
        or not isinstance(schema, dict)
        or not isinstance(properties, dict)
    ):
        raise FormError("is none")
    if len(cast(Schema, properties)) > MAX_FIELDS:
        raise FormError(f"has more than {MAX_FIELDS} questions")
    required = whole.get("required")
    needed = cast("list[object]", required) if isinstance(required, list) else []
    return [_field(name, each, name in needed) for name, each in cast(Schema, properties).items()]


def _field(name: str, schema: object, needed: bool) -> Field:
    if not isinstance(schema, dict) or len(name) > MAX_NAME:
        raise FormError("has a question that is none")
    about = cast(Schema, schema)
    kind = about.get("type")
    choices: list[tuple[str, str]] = []
    if kind == "array":
        items = about.get("items")
        choices = _choices(cast(Schema, items) if isinstance(items, dict) else {})
        if not choices:
            raise FormError("asks for a list of what nobody named")
    elif kind == "string":
        choices = _choices(about)
    elif not isinstance(kind, str) or kind not in _KINDS:
        raise FormError("asks for more than single values")
    bare = Field(name, str(kind), needed, about, choices)
    return Field(name, str(kind), needed, about, choices, _default(bare))


def _choices(schema: Schema) -> list[tuple[str, str]]:
    listed = next(
        (schema[key] for key in ("enum", "oneOf", "anyOf") if isinstance(schema.get(key), list)), None
    )
    if listed is None:
        return []
    entries = cast("list[object]", listed)
    if len(entries) > MAX_CHOICES:
        raise FormError(f"has a question with more than {MAX_CHOICES} choices")
    names = schema.get("enumNames")
    titles = cast("list[object]", names) if isinstance(names, list) else []
    found: list[tuple[str, str]] = []
    for index, entry in enumerate(entries):
        value: object = entry
        title: object = titles[index] if index < len(titles) else entry
        if isinstance(entry, dict):
            value = cast(Schema, entry).get("const")
            title = cast(Schema, entry).get("title", value)
        if not isinstance(value, str):
            raise FormError("has a choice that is no text")
        found.append((value, _words(title, 200) or value))
    return found


def _default(field: Field) -> Value | None:
    # One that the field itself would not take is none.
    value = field.schema.get("default")
    if isinstance(value, bool):
        return value if field.kind == "boolean" else None
    if field.kind == "array":
        if not isinstance(value, list):
            return None
        known = [choice for choice, _ in field.choices]
        picked = [each for each in cast("list[object]", value) if isinstance(each, str) and each in known]
        return picked if len(picked) == len(cast("list[object]", value)) else None
    if not isinstance(value, str if field.kind == "string" else int | float):
        return None
    try:
        return field.read([str(value)])
    except ValueError:
        return None


def _boolean(text: str) -> bool:
    word = text.strip().casefold()
    if word in _YES | _NO:
        return word in _YES
    raise ValueError("should be yes or no")


def _whole(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?[0-9]+\s*", text) is not None


def _bound(schema: Schema, key: str) -> int | float | None:
    value = schema.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _words(value: object, most: int) -> str:
    return " ".join(value.split())[:most] if isinstance(value, str) else ""


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is not None


def _is_moment(text: str) -> bool:
    # RFC 3339: a date, a time to the second, and where that is.
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return found.tzinfo is not None and len(text) >= len("2026-01-02T03:04:05Z")


def _is_address(text: str) -> bool:
    return re.fullmatch(r"[^@\s]+@[^@\s]+", text) is not None


def _is_uri(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:\S+", text) is not None


_FORMATS = {"email": _is_address, "uri": _is_uri, "date": _is_date, "date-time": _is_moment}
_EXAMPLES = {
    "email": "an address such as ada@example.com", "uri": "a URI such as https://example.com/",
    "date": "a date such as 2026-01-02", "date-time": "a moment such as 2026-01-02T03:04:05Z",
}  # fmt: skip
