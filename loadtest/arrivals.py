"""When requests come: processes of arrival, each the same for the same random numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

# Moments in order, in seconds, none later than the end that is given.
Times = Callable[[random.Random, float], Iterator[float]]


def poisson(rate: float, start: float = 0.0, end: float = math.inf) -> Times:
    """Arrivals of a constant mean rate a second, independent of each other."""
    return steps([(start, rate), (end, 0.0)])


def steps(levels: Sequence[tuple[float, float]]) -> Times:
    """Poisson arrivals whose rate changes: pairs of (from when, rate a second)."""

    def times(rng: random.Random, end: float) -> Iterator[float]:
        for index, (start, rate) in enumerate(levels):
            stop = min(levels[index + 1][0] if index + 1 < len(levels) else end, end)
            if rate <= 0:
                continue
            now = start + rng.expovariate(rate)
            while now < stop:
                yield now
                now += rng.expovariate(rate)

    return times


def on_off(rate: float, on: float, off: float, start: float = 0.0) -> Times:
    """Poisson arrivals of `rate` for `on` seconds, none for `off`, and so on."""

    def times(rng: random.Random, end: float) -> Iterator[float]:
        begin = start
        while begin < end:
            yield from poisson(rate, begin, min(begin + on, end))(rng, end)
            begin += on + off

    return times


def constant(rate: float, start: float = 0.0) -> Times:
    """Arrivals at equal distances, the first half a distance after the start."""

    def times(rng: random.Random, end: float) -> Iterator[float]:
        number = 0
        while rate > 0 and (now := start + (number + 0.5) / rate) < end:
            yield now
            number += 1

    return times


def gamma(rate: float, burstiness: float, start: float = 0.0) -> Times:
    """Arrivals whose distances are gamma distributed with the shape `burstiness`.

    As `vllm bench serve --burstiness`: 1 is Poisson, less comes in bursts, more is more even.
    """

    def times(rng: random.Random, end: float) -> Iterator[float]:
        now = start
        while rate > 0 and (now := now + rng.gammavariate(burstiness, 1 / (rate * burstiness))) < end:
            yield now

    return times


def ramp(first: float, last: float, seconds: float, start: float = 0.0) -> Times:
    """Poisson arrivals whose rate goes in a line from `first` to `last` in `seconds` and stays there.

    By thinning (Lewis and Shedler 1979) of arrivals at the higher rate.
    """
    most = max(first, last)

    def times(rng: random.Random, end: float) -> Iterator[float]:
        for now in poisson(most, start)(rng, end) if most > 0 else ():
            rate = first + (last - first) * min(1.0, (now - start) / seconds)
            if rng.random() * most < rate:
                yield now

    return times
