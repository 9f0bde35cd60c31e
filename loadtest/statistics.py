"""Quantiles, fairness, and how sure a ratio of two runs is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence

NAN = float("nan")
Draw = Callable[[random.Random], float]


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which `part` of all values lie: an order statistic, never a mean of two; nan of none."""
    return quantile_of_sorted(sorted(values), part)


def quantile_of_sorted(ordered: Sequence[float], part: float) -> float:
    """The same of values that are in order already."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else NAN


def jain(values: Iterable[float]) -> float:
    """Jain's fairness index (Jain, Chiu, Hawe 1984): 1 where all have the same, 1 / n where one has it all."""
    numbers = list(values)
    squares = sum(each * each for each in numbers)
    return sum(numbers) ** 2 / (len(numbers) * squares) if squares else 1.0


def max_min(total: float, demands: Sequence[float], weights: Sequence[float]) -> list[float]:
    """What each has of `total` where nobody can have more but from one who has less for its weight.

    Nobody has more than its demand. Max-min fairness by filling (Bertsekas and Gallager, Data Networks, 6.5.2).
    """
    shares, left = [0.0] * len(demands), total
    open_ = set(range(len(demands)))
    while open_:
        level = left / sum(weights[n] for n in open_)
        satisfied = {n for n in open_ if demands[n] <= level * weights[n]}
        for n in satisfied or open_:
            shares[n] = min(demands[n], level * weights[n])
        if not satisfied:
            break
        left -= sum(shares[n] for n in satisfied)
        open_ -= satisfied
    return shares


def quantile_draw(values: Sequence[float], part: float) -> Draw:
    """Draws the quantile as resampling `values` with replacement would, without resampling.

    The k-th smallest of n uniform numbers is Beta(k, n + 1 - k), and a resampled value is the one at that place.
    """
    ordered, size = sorted(values), len(values)
    if not size:
        return lambda rng: NAN
    rank = min(size - 1, int(part * size)) + 1
    return lambda rng: ordered[min(size - 1, int(size * rng.betavariate(rank, size + 1 - rank)))]


def count_draw(count: int, of: int) -> Draw:
    """Draws how many of `of` requests have what `count` of them had, as resampling would (binomial)."""
    if not of:
        return lambda rng: NAN
    share = count / of
    if of <= 200:
        return lambda rng: float(sum(rng.random() < share for _ in range(of)))
    spread = math.sqrt(of * share * (1 - share))
    return lambda rng: min(float(of), max(0.0, rng.gauss(count, spread)))


def sum_draw(values: Sequence[float]) -> Draw:
    """Draws the sum of so many resampled values, by the central limit."""
    size = len(values)
    if not size:
        return lambda rng: NAN
    mean = sum(values) / size
    spread = math.sqrt(sum((each - mean) ** 2 for each in values))
    return lambda rng: rng.gauss(mean * size, spread)


def ratio_interval(
    ours: Draw, theirs: Draw, *, seed: int = 0, draws: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap percentile interval (Efron) of `theirs` / `ours`; nan where there is nothing to draw from."""
    rng = random.Random(f"{seed}/bootstrap")
    ratios = []
    for _ in range(draws):
        below = ours(rng)
        above = theirs(rng)
        if below > 0 and above == above:
            ratios.append(above / below)
    ratios.sort()
    tail = (1 - level) / 2
    return quantile_of_sorted(ratios, tail), quantile_of_sorted(ratios, 1 - tail)
