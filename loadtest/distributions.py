"""Distributions of lengths and of times, as scenario files write them."""

from __future__ import annotations

import math
import random
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from loadtest.strict import Strict


def log_normal(rng: random.Random, median: float, sigma: float) -> float:
    """One number; its logarithm is normal about that of `median`."""
    return median * math.exp(rng.gauss(0.0, sigma))


class Constant(Strict):
    """Always the same; a number alone stands for it."""

    distribution: Literal["constant"] = "constant"
    value: float = Field(ge=0, description="The number.")

    def draw(self, rng: random.Random) -> float:
        """One number."""
        return self.value

    @property
    def typical(self) -> float:
        """About the middle."""
        return self.value


class LogNormal(Strict):
    """What lengths of prompts and answers are mostly like."""

    distribution: Literal["lognormal"]
    median: float = Field(gt=0, description="Half of all are shorter.")
    sigma: float = Field(0.8, ge=0, le=5, description="Of the logarithm; 0.8 has a tenth beyond 2.8 medians.")
    least: float = Field(1, ge=0, description="None is less.")
    most: float = Field(1_000_000, gt=0, description="None is more.")

    def draw(self, rng: random.Random) -> float:
        """One number."""
        return max(self.least, min(self.most, log_normal(rng, self.median, self.sigma)))

    @property
    def typical(self) -> float:
        """The median."""
        return self.median


class Uniform(Strict):
    """Any number between two, each as likely."""

    distribution: Literal["uniform"]
    least: float = Field(ge=0, description="The smallest.")
    most: float = Field(ge=0, description="The largest.")

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        if self.most < self.least:
            raise ValueError(f"`most` ({self.most:g}) is below `least` ({self.least:g})")
        return self

    def draw(self, rng: random.Random) -> float:
        """One number."""
        return rng.uniform(self.least, self.most)

    @property
    def typical(self) -> float:
        """The middle."""
        return (self.least + self.most) / 2


class Choice(Strict):
    """One of some numbers."""

    distribution: Literal["choice"]
    values: list[float] = Field(min_length=1, description="The numbers.")
    weights: list[float] | None = Field(None, description="How likely each is, in any unit; by default all the same.")

    @model_validator(mode="after")
    def _matching(self) -> Choice:
        if self.weights is not None and (len(self.weights) != len(self.values) or sum(self.weights) <= 0):
            raise ValueError(f"`weights` must be as many as `values` ({len(self.values)}) and not all 0")
        return self

    def draw(self, rng: random.Random) -> float:
        """One number."""
        return rng.choices(self.values, self.weights)[0]

    @property
    def typical(self) -> float:
        """The one in the middle."""
        return sorted(self.values)[len(self.values) // 2]


def _number(value: Any) -> Any:
    return {"distribution": "constant", "value": value} if isinstance(value, (int, float)) else value


Numbers: TypeAlias = Annotated[
    Annotated[Constant | LogNormal | Uniform | Choice, Field(discriminator="distribution")], BeforeValidator(_number)
]
