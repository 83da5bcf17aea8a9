"""Which keys a place in the settings file takes, read from the models."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag


def keys_of(model: type[BaseModel]) -> list[str]:
    """Give the keys of a model as they stand in the file."""
    return [field.alias or name for name, field in model.model_fields.items()]


def keys_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """Give the keys known at a location as pydantic names it; none where it is no model."""
    place: object = model
    for step in loc:
        place = _inside(place, step)
    found = _bare(place)
    return keys_of(found) if isinstance(found, type) and issubclass(found, BaseModel) else []


def _inside(place: object, step: str | int) -> object:
    place = _bare(place)
    if isinstance(place, type) and issubclass(place, BaseModel):
        for name, field in place.model_fields.items():
            if step == (field.alias or name):
                # Discriminated unions keep their members in the annotation, tags in its metadata.
                return field.annotation
        return None
    if get_origin(place) is dict:
        return get_args(place)[1]
    if get_origin(place) is tuple:
        return get_args(place)[0]
    if get_origin(place) in (Union, types.UnionType):
        return next((member for member in get_args(place) if _tag(member) == step), None)
    return None


def _bare(place: object) -> object:
    while get_origin(place) is Annotated:
        place = get_args(place)[0]
    if get_origin(place) in (Union, types.UnionType):
        members = [member for member in get_args(place) if member is not type(None)]
        if len(members) == 1:
            return _bare(members[0])
    return place


def _tag(member: Any) -> str | None:
    return next((each.tag for each in getattr(member, "__metadata__", ()) if isinstance(each, Tag)), None)
