"""How what an issuer says of somebody is put into the gateway's own words: part of each entry of `auth`.

The docstrings are the reference of the keys.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
)

from tidegate.settings.base import Emptiable, Model
from tidegate.settings.values import Text

_MOST = 1024
"""Words that are mapped."""
_MOST_ATTRIBUTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_CLAIM = re.compile(r"(?:[^.\\]|\\.)+(?:\.(?:[^.\\]|\\.)+){0,7}")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("should be a name of at most 64 letters, digits and . _ @ + -")
    return value


def _claim(value: str) -> str:
    if not _CLAIM.fullmatch(value) or len(value) > 512:
        raise ValueError(r"should be a claim, such as groups or realm_access.roles; \. is a dot in a name")
    return value


def listed(value: object) -> object:
    """Take one for a list of one."""
    return [value] if isinstance(value, str) else value


def _few(value: dict[str, str]) -> dict[str, str]:
    if len(value) > _MOST_ATTRIBUTES:
        raise ValueError(f"holds more than {_MOST_ATTRIBUTES} attributes")
    if any(not _ATTRIBUTE.fullmatch(name) for name in value):
        raise ValueError("holds a name that is none for an attribute: letters, digits and _ are")
    return value


def _values(value: object) -> tuple[str | int | bool, ...]:
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    found = tuple(each for each in items if isinstance(each, str | int | bool))
    if not found or len(found) != len(items):
        raise ValueError("should be text, a whole number, true or false, or a list of them")
    return found


_ONE_OR_MORE = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}

Name = Annotated[Text, AfterValidator(_name)]
Claim = Annotated[Text, AfterValidator(_claim)]
ClaimList = Annotated[
    tuple[Claim, ...], BeforeValidator(listed), Field(max_length=16), WithJsonSchema(_ONE_OR_MORE)
]
Names = Annotated[
    tuple[Name, ...], BeforeValidator(listed), Field(max_length=64), WithJsonSchema(_ONE_OR_MORE)
]
Values = Annotated[
    tuple[str | int | bool, ...],
    PlainValidator(_values),
    WithJsonSchema({"type": ["string", "integer", "boolean", "array"]}),
]


class RolesModel(Model):
    """Roles of whoever a token is about."""

    claims: ClaimList | None = None
    """Claims that hold roles or groups: a text, a list, or the keys of a mapping. Absent: those of the `preset`, else none."""
    map: Annotated[dict[Text, Names], Field(max_length=_MOST)] | None = None
    """From their words to roles, one or a list. `*` stands for anything without a slash. Absent: each word is the role
    of that name, but for `user` and `admin`, which are given here or by `default` only."""
    default: Names = ()
    """Of everybody whom this issuer vouches for."""


class WorkloadRolesModel(Model):
    """Roles of workloads, by their names."""

    map: Annotated[dict[Text, Names], Emptiable, Field(max_length=_MOST)] = Field(default_factory=dict)
    """From names to roles, one or a list. `*` stands for anything without a slash."""
    default: Names = ()
    """Of every workload that is vouched for."""


class GroupsModel(Model):
    """Groups, for rules and policies to read."""

    claim: ClaimList = ("groups",)
    """Claims that hold them."""


class TenantModel(Model):
    """The tenant of whoever a token is about."""

    claim: Claim
    """Claim that says it. A token without it is refused."""
    map: Annotated[dict[Text, Name], Field(max_length=_MOST)] | None = None
    """From its values to tenants; others are refused. Absent: each value is the tenant of that name, but for `default`,
    which is given here only."""


def _choice(value: object) -> str:
    return "<mapping>" if isinstance(value, dict) else "<name>"


TenantChoice = Annotated[
    Annotated[Name, Tag("<name>")] | Annotated[TenantModel, Tag("<mapping>")], Discriminator(_choice)
]
Attributes = Annotated[dict[str, Claim], Emptiable, AfterValidator(_few)]
Required = Annotated[dict[Claim, Values], Emptiable, Field(max_length=32)]
Preset = Literal["entra", "google", "cognito", "aws", "okta", "keycloak"]
