"""The base of what people write by hand into files: nothing unknown is passed over, and a slip gets help."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class StrictModel(BaseModel):
    """A frozen model that refuses unknown fields and names the field that was probably meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_fields(cls, values: Any) -> Any:
        known = {field.alias or name for name, field in cls.model_fields.items()}
        for name in values if isinstance(values, dict) else ():
            if name not in known:
                meant = difflib.get_close_matches(str(name), known, n=1)
                hint = f"; did you mean `{meant[0]}`?" if meant else f"; known are {', '.join(sorted(known))}"
                raise ValueError(f"unknown field `{name}`{hint}")
        return values
