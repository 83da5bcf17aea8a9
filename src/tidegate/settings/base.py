"""What all models of the settings file have in common."""

from __future__ import annotations

from typing import cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator


class Model(BaseModel):
    """A mapping in the settings file: frozen, no unknown keys, a key without a value has its default."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        validate_by_alias=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_the_default(cls, value: object) -> object:
        if value is None:
            return {}
        if isinstance(value, dict):
            given = cast("dict[str, object]", value)
            optional = {
                field.alias or name for name, field in cls.model_fields.items() if not field.is_required()
            }
            return {key: item for key, item in given.items() if item is not None or key not in optional}
        return value


def nothing_is_empty(value: object) -> object:
    """Take a key without a value as an empty mapping."""
    return {} if value is None else value


Emptiable = BeforeValidator(nothing_is_empty)
"""For mappings of names."""
