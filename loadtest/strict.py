"""Models that refuse what they do not know, and say what was probably meant."""

from __future__ import annotations

import difflib
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

Model = TypeVar("Model", bound=BaseModel)


class Misfit(ValueError):
    """A file that says something impossible: one line for each place, with the reason."""


class Strict(BaseModel):
    """Frozen; a key that is not known is an error that suggests the right one."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in values:
            if key not in known and key not in cls.model_fields:
                close = difflib.get_close_matches(str(key), known, 1, 0.5)
                hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(f'`{k}`' for k in known)}"
                raise ValueError(f"unknown key `{key}`; {hint}")
        return values

    def with_values(self, **values: Any) -> Self:
        """A copy in which these fields have other values."""
        return self.model_copy(update=values)


def parsed(model: type[Model], values: Any, where: str) -> Model:
    """The model of these values. Raises Misfit with every place that is wrong in `where`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [f"{where}: {_place(each['loc'])}{_reason(each)}" for each in error.errors(include_url=False)]
        raise Misfit("\n".join(lines)) from None


def _place(location: tuple[int | str, ...]) -> str:
    place = ""
    for part in location:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    return f"{place}: " if place else ""


def _reason(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")
