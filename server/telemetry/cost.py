"""What tokens cost, from the price of the hardware and what the engine does with its time. See docs/cost.md.

Money flows at a constant rate. Each step of the engine takes the money of its time, which pays for its **input** tokens
(prefill) and its **output** tokens (decode); a **cached** input token pays for the room that it holds in the KV cache
until it is used again; the rest is **idle**. So at any time input + cached + output + idle is what the hardware cost
since the start, up to the step that is running.

A request pays for its tokens what tokens of their kind cost on average while it ran.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Counter, Gauge

Kind = Literal["input", "cached", "output"]
KINDS: tuple[Kind, ...] = ("input", "cached", "output")

MILLION = 1_000_000

CACHED_SECONDS = 300.0
"""How long a cached token is taken to wait for its next use; the planner assumes the same (`Load.cached_seconds`)."""

PRICE_SECONDS = 60.0
"""The current price is a mean over the past that fades by 1/e in this time."""

# Of each decode-only step in the moving average of their times.
_LEARNING = 0.1

DOLLARS = Counter(
    "qwend_cost_dollars",
    "What requests cost in US dollars, by tenant and kind of token: `input` is computed, `cached` found in the cache.",
    ["tenant", "kind"],
)
SPENT = Counter(
    "qwend_cost_spent_dollars",
    "What the hardware cost since the start in US dollars, by what it was spent on: input, cached, output or idle.",
    ["kind"],
)
PRICE = Gauge(
    "qwend_cost_dollars_per_million_tokens",
    "What a million tokens cost now in US dollars, by kind; a mean of about the last minute, 0 where there were none.",
    ["kind"],
)
RATE = Gauge("qwend_cost_dollars_per_hour", "What the hardware costs in an hour, in US dollars; 0 without a price.")


@dataclass(frozen=True, slots=True)
class RequestCost:
    """What one request cost, in US dollars."""

    input: float
    cached: float
    output: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.input + self.cached + self.output


@dataclass(frozen=True, slots=True)
class Mark:
    """What was spent on tokens of both kinds, and how many they were, since the start."""

    input_dollars: float
    input_tokens: int
    output_dollars: float
    output_tokens: int


class _Faded:
    """Dollars and tokens of the recent past."""

    def __init__(self) -> None:
        self.dollars = 0.0
        self.tokens = 0.0

    def add(self, fade: float, dollars: float, tokens: float) -> None:
        self.dollars = self.dollars * fade + dollars
        self.tokens = self.tokens * fade + tokens

    @property
    def per_token(self) -> float:
        return self.dollars / self.tokens if self.tokens > 1e-9 else 0.0


class CostMeter:
    """Splits the money of one engine. `kv_tokens` is the size of its KV cache.

    Tell it of every step by `step`; times are `clock`'s, in seconds.
    """

    def __init__(
        self,
        dollars_per_hour: float,
        kv_tokens: int,
        *,
        cached_seconds: float = CACHED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = dollars_per_hour / 3600
        self._clock = clock
        self._settled = clock()
        self._busy = False
        self._decode_step: float | None = None
        self._owed = 0.0
        self.cached_price = self._per_second * cached_seconds / kv_tokens
        """US dollars for one cached token: its part of the KV cache for `cached_seconds`."""
        self.input_dollars = self.output_dollars = self.cached_dollars = self.idle_dollars = 0.0
        self.input_tokens = self.output_tokens = 0
        self._recent = {"input": _Faded(), "output": _Faded()}
        RATE.set(dollars_per_hour)

    def step(self, seconds: float | None, prefill_tokens: int, decode_tokens: int, *, busy: bool) -> None:
        """A step ended now, which took `seconds` (None: not known) and computed so many tokens; `busy` says whether the
        engine goes on after it.
        """
        now = self._clock()
        wall = max(0.0, now - self._settled)
        used = min(seconds or 0.0, wall)
        output = self._output_seconds(used, prefill_tokens, decode_tokens)
        self._spend(now, wall, used - output if prefill_tokens else 0.0, output, prefill_tokens, decode_tokens)
        self._busy = busy

    def settle(self) -> None:
        """Counts idle time up to now; while a step runs its time waits for the step's end."""
        if not self._busy:
            now = self._clock()
            self._spend(now, max(0.0, now - self._settled), 0.0, 0.0, 0, 0)

    def mark(self) -> Mark:
        """The state at a request's start, for `cost`."""
        return Mark(self.input_dollars, self.input_tokens, self.output_dollars, self.output_tokens)

    def cost(self, since: Mark, *, computed: int, cached: int, output: int) -> RequestCost:
        """What a request cost that began at `since` and had these tokens: `computed` and `cached` of its prompt."""
        self._owed += cached * self.cached_price
        input_price = _price(self.input_dollars - since.input_dollars, self.input_tokens - since.input_tokens)
        output_price = _price(self.output_dollars - since.output_dollars, self.output_tokens - since.output_tokens)
        return RequestCost(
            input=computed * (self._recent["input"].per_token if input_price is None else input_price),
            cached=cached * self.cached_price,
            output=output * (self._recent["output"].per_token if output_price is None else output_price),
        )

    def prices(self) -> dict[Kind, float]:
        """Current US dollars for a million tokens of each kind."""
        return {
            "input": self._recent["input"].per_token * MILLION,
            "cached": self.cached_price * MILLION,
            "output": self._recent["output"].per_token * MILLION,
        }

    def _output_seconds(self, used: float, prefill_tokens: int, decode_tokens: int) -> float:
        """The part of a step that its decode tokens took: in a mixed one, as long as steps without prefill take."""
        if not decode_tokens:
            return 0.0
        if not prefill_tokens:
            last = self._decode_step
            self._decode_step = used if last is None else last + _LEARNING * (used - last)
            return used
        if self._decode_step is None:
            return used * decode_tokens / (prefill_tokens + decode_tokens)
        return min(used, self._decode_step)

    def _spend(
        self, now: float, wall: float, on_input: float, on_output: float, input_tokens: int, output_tokens: int
    ) -> None:
        money = wall * self._per_second
        cached = min(self._owed, money)
        self._owed -= cached
        # What cached tokens pay for is taken off everything else alike.
        rest = self._per_second * (1 - cached / money) if money else 0.0
        spent = {"input": on_input * rest, "output": on_output * rest, "cached": cached}
        spent["idle"] = max(0.0, wall - on_input - on_output) * rest
        self.input_dollars += spent["input"]
        self.output_dollars += spent["output"]
        self.cached_dollars += cached
        self.idle_dollars += spent["idle"]
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        fade = math.exp(-wall / PRICE_SECONDS)
        self._recent["input"].add(fade, spent["input"], input_tokens)
        self._recent["output"].add(fade, spent["output"], output_tokens)
        for kind, dollars in spent.items():
            if dollars:
                SPENT.labels(kind).inc(dollars)
        self._settled = now


def show(meter: CostMeter) -> None:
    """Lets the gauges read `meter` when they are asked for."""
    for kind in KINDS:
        PRICE.labels(kind).set_function(lambda kind=kind: meter.prices()[kind])  # type: ignore[misc]


def charge(tenant: str, cost: RequestCost) -> None:
    """Counts what a request of `tenant` (bounded by now) cost."""
    for kind in KINDS:
        if dollars := getattr(cost, kind):
            DOLLARS.labels(tenant, kind).inc(dollars)


def _price(dollars: float, tokens: int) -> float | None:
    return dollars / tokens if tokens > 0 else None
