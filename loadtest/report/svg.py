"""Line charts as inline SVG."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = ("#1b6ca8", "#c0392b", "#e0a030", "#2e8b57", "#7d3c98", "#16a2a2", "#5d6d7e", "#d35487", "#7f6000", "#222222")
_LEFT, _RIGHT, _BOTTOM = 62, 12, 40
# Of a letter of the legend, about; names are set in rows between the title and the picture.
_LETTER, _ROW = 6.2, 15
_MOST_POINTS = 400
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line; `steps` draws it as stairs, `dots` marks its points, `dashed` is for what is only a mark."""

    name: str
    points: Sequence[Point]
    steps: bool = False
    dots: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """A label, and whether it is logarithmic; `top` is a bound that the values need not reach."""

    label: str
    log: bool = False
    top: float | None = None


class _Scale:
    def __init__(self, axis: Axis, values: Sequence[float], low: float, high: float) -> None:
        self._log, self._low, self._high = axis.log, low, high
        least, most = min(values), max([*values, *([axis.top] if axis.top else [])])
        if axis.log:
            self.least, self.most = math.log10(least), math.log10(most)
            if self.most - self.least < 0.1:
                self.least, self.most = self.least - 0.1, self.most + 0.1
        else:
            # Some room above, but not beyond a bound.
            most = most if axis.top or most <= 0 else 1.04 * most
            self.least, self.most = min(0.0, least), most if most > 0 else 1.0

    def __call__(self, value: float) -> float:
        part = ((math.log10(value) if self._log else value) - self.least) / (self.most - self.least)
        return self._low + part * (self._high - self._low)

    def ticks(self) -> list[float]:
        if not self._log:
            return _round_steps(self.least, self.most)
        decades = range(math.floor(self.least), math.ceil(self.most) + 1)
        factors = (1, 2, 5) if self.most - self.least < 3 else (1,)
        marks = [factor * 10.0**decade for decade in decades for factor in factors]
        return [mark for mark in marks if self.least - 1e-9 <= math.log10(mark) <= self.most + 1e-9]


def _round_steps(least: float, most: float) -> list[float]:
    raw = (most - least) / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw * 0.999)
    return [step * n for n in range(math.ceil(least / step - 1e-9), math.floor(most / step + 1e-9) + 1)]


def chart(title: str, series: Sequence[Series], x: Axis, y: Axis, *, width: int = 560, height: int = 300) -> str:
    """A picture of the series; a note where there is nothing to draw."""
    drawn = [
        (colour, each, kept)
        for colour, each in zip(COLOURS * (len(series) // len(COLOURS) + 1), series, strict=False)
        if (kept := [p for p in _thinned(each.points) if (not x.log or p[0] > 0) and (not y.log or p[1] > 0)])
    ]
    heading = f'<text x="{width / 2}" y="15" text-anchor="middle" font-weight="600">{html.escape(title)}</text>'
    opening = f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{heading}'
    if not drawn:
        note = f'<text x="{width / 2}" y="{height / 2}" text-anchor="middle" fill="#888">nothing to show</text>'
        return f"{opening}{note}</svg>"
    across = _Scale(x, [p[0] for _, _, kept in drawn for p in kept], _LEFT, width - _RIGHT)
    legend, end = _legend([(colour, each) for colour, each, _ in drawn], width)
    top = end + 10
    up = _Scale(y, [p[1] for _, _, kept in drawn for p in kept], height - _BOTTOM, top)
    parts = [opening, *legend]
    for tick in across.ticks():
        at = across(tick)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{height - _BOTTOM}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - _BOTTOM + 14}" text-anchor="middle">{tick:.6g}</text>')
    for tick in up.ticks():
        at = up(tick)
        parts.append(f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{at + 4:.1f}" text-anchor="end">{tick:.6g}</text>')
    parts.append(f'<text x="{(width + _LEFT) / 2}" y="{height - 8}" text-anchor="middle">{html.escape(x.label)}</text>')
    turned = f'transform="rotate(-90 13 {height / 2})"'
    parts.append(f'<text x="13" y="{height / 2}" text-anchor="middle" {turned}>{html.escape(y.label)}</text>')
    for colour, each, kept in drawn:
        parts.append(_line(colour, each, [(across(px), up(py)) for px, py in kept]))
    return "".join(parts) + "</svg>"


def _line(colour: str, series: Series, at: list[Point]) -> str:
    if series.steps:
        at = [corner for a, b in itertools.pairwise(at) for corner in (a, (b[0], a[1]))] + at[-1:]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in at)
    dashes = ' stroke-dasharray="5 4"' if series.dashed else ""
    found = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dashes}/>'
    if series.dots:
        found += "".join(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in at)
    return found


def _legend(named: list[tuple[str, Series]], width: int) -> tuple[list[str], int]:
    """Names beside their colours, in rows below the title; and where the last row ends."""
    parts, x, y = [], _LEFT, 15 + _ROW
    for colour, each in named:
        name = each.name[:40]
        wide = round(16 + _LETTER * len(name))
        if x > _LEFT and x + wide > width - _RIGHT:
            x, y = _LEFT, y + _ROW
        parts.append(f'<rect x="{x}" y="{y - 8}" width="9" height="9" fill="{colour}"/>')
        parts.append(f'<text x="{x + 13}" y="{y}">{html.escape(name)}</text>')
        x += wide + 8
    return parts, y


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most so many points, the first and the last among them."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (_MOST_POINTS - 1)
    return [points[round(step * n)] for n in range(_MOST_POINTS)]
