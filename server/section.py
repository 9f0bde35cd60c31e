"""What every section of the settings is: typed, frozen, and closed to keys that it does not know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the settings tree."""

    model_config = ConfigDict(extra="forbid", frozen=True)
