"""Pictures of the scenarios, small and without a display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from loadtest.simulation import report
from loadtest.simulation.policies import refusal
from loadtest.simulation.results import Attempt, Results
from loadtest.statistics import quantile

COLOURS = {"ours": "#1b6ca8", "unbounded FCFS": "#c0392b", "vLLM's caps": "#e0a030"}
_SIZE = (9.0, 3.6)
Runs = dict[str, Results]


def _save(figure: Any, path: Path, title: str) -> None:
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def _axes(axes: Any, x: str, y: str, title: str = "") -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def against_load(path: Path, title: str, loads: Sequence[float], runs: Sequence[Runs], full: float) -> None:
    """Goodput, time to the first token and refusals against the offered load."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.6))
    for name, colour in COLOURS.items():
        each = [run[name] for run in runs]
        left.plot(loads, [report.goodput(one) / full for one in each], "o-", color=colour, label=name, ms=4)
        tails = [quantile(report.ttfts(one.attempts), 0.99) for one in each]
        middle.plot(loads, tails, "o-", color=colour, ms=4)
        right.plot(loads, [100 * report.refused(one.attempts) for one in each], "o-", color=colour, ms=4)
    middle.axhline(10, color="#666", lw=1, ls="--")
    middle.text(loads[-1], 10.5, "objective", ha="right", fontsize=8, color="#666")
    for axes in (left, middle, right):
        axes.set_xscale("log")
        axes.set_xticks(list(loads), [f"{each:g}" for each in loads])
        axes.minorticks_off()
    middle.set_yscale("log")
    left.set_ylim(bottom=0)
    _axes(left, "offered load / capacity", "goodput / capacity", "in time, of what the engine can do")
    _axes(middle, "offered load / capacity", "TTFT p99 (s)", "of those that got a token")
    _axes(right, "offered load / capacity", "refused (%)", "told to come back")
    left.legend(fontsize=8, frameon=False)
    _save(figure, path, title)


def ttft_over_time(path: Path, title: str, runs: Runs, groups: dict[str, Callable[[Attempt], bool]]) -> None:
    """The time to the first token of each request by its arrival, a panel for each policy."""
    figure, panels = plt.subplots(1, len(runs), figsize=(11, 3.6), sharey=True)
    shades = ("#1b6ca8", "#d35400", "#2e8b57")
    for axes, (name, run) in zip(panels, runs.items(), strict=True):
        # The first group is drawn last, on top of the others.
        for (label, belongs), shade in reversed(list(zip(groups.items(), shades, strict=False))):
            mine = [each for each in run.attempts if belongs(each)]
            points = [(each.arrived, each.ttft) for each in mine if each.ttft is not None]
            lost = [each.arrived for each in mine if refusal(each.outcome)]
            axes.plot(*zip(*points, strict=True), ".", ms=2.5, color=shade, label=label) if points else None
            height = 70 if label == next(iter(groups)) else 95
            axes.plot(lost, [height] * len(lost), "|", ms=5, color=shade, alpha=0.4)
        axes.axhline(10, color="#666", lw=1, ls="--")
        axes.set_xlim(0, run.duration)
        axes.set_yscale("log")
        axes.set_ylim(0.01, 130)
        _axes(axes, "arrival (s)", "TTFT (s)" if axes is panels[0] else "", name)
    panels[0].legend(fontsize=8, framealpha=0.85, edgecolor="none", loc="lower left", markerscale=4)
    _save(figure, path, f"{title}\n(ticks on top: refused; dashed: objective)")


def distribution(path: Path, title: str, runs: Runs, groups: dict[str, Callable[[Attempt], bool]]) -> None:
    """The part of the requests of a group that have their first token within a time; refusals never have."""
    figure, panels = plt.subplots(1, len(groups), figsize=_SIZE, sharey=True)
    for axes, (label, belongs) in zip(panels, groups.items(), strict=True):
        for name, run in runs.items():
            mine = [each for each in run.attempts if belongs(each)]
            times = sorted(report.ttfts(mine))
            heights = [100 * (n + 1) / len(mine) for n in range(len(times))]
            axes.plot(times, heights, color=COLOURS[name], label=name)
        axes.axvline(10, color="#666", lw=1, ls="--")
        axes.set_xscale("log")
        axes.set_xlim(0.02, 120)
        _axes(axes, "TTFT (s)", "requests (%)" if axes is panels[0] else "", label)
    panels[0].legend(fontsize=8, frameon=False)
    _save(figure, path, title)


def served(path: Path, title: str, runs: Runs, tenants: dict[str, Callable[[str], bool]]) -> None:
    """Token units a second that groups of tenants were served, over time."""
    figure, panels = plt.subplots(1, len(runs), figsize=(11, 3.6), sharey=True)
    shades = ("#1b6ca8", "#d35400", "#2e8b57")
    for axes, (name, run) in zip(panels, runs.items(), strict=True):
        samples = [each for each in run.samples if each.at <= run.duration]
        for (label, belongs), shade in zip(tenants.items(), shades, strict=False):
            totals = [sum(value for key, value in each.tokens.items() if belongs(key)) for each in samples]
            window = 3
            rates = [(totals[n] - totals[n - window]) / window / 1000 for n in range(window, len(totals))]
            axes.plot([each.at for each in samples[window:]], rates, color=shade, label=label)
        _axes(axes, "time (s)", "served (1000 token units/s)" if axes is panels[0] else "", name)
    panels[0].legend(fontsize=8, frameon=False)
    _save(figure, path, f"{title}\n(a prompt token counts 1, an output token 2)")


def drift(path: Path, title: str, run: Results, speed: Callable[[float], float]) -> None:
    """The engine's slowness, and the forecast of the first token's time beside the truth."""
    figure, (left, right) = plt.subplots(1, 2, figsize=_SIZE)
    seconds = list(range(int(run.duration) + 1))
    left.plot(seconds, [speed(each) for each in seconds], color="#666", label="time of a step, × normal")
    per = [each for each in run.attempts if refusal(each.outcome)]
    rates = [sum(at <= each.arrived < at + 5 for each in per) / 5 for at in range(0, int(run.duration), 5)]
    left.step(list(range(0, int(run.duration), 5)), rates, where="post", color="#c0392b", label="refused (1/s)")
    left.legend(fontsize=8, frameon=False)
    _axes(left, "time (s)", "factor, requests/s", "a slower engine is noticed")
    points = [(each.predicted_ttft, each.ttft) for each in run.attempts if each.ttft is not None]
    right.plot(*zip(*points, strict=True), ".", ms=2.5, color="#1b6ca8")
    right.plot([0, 12], [0, 12], color="#666", lw=1, ls="--")
    right.set_xlim(0, 12)
    right.set_ylim(0, 12)
    _axes(right, "TTFT told at the door (s)", "TTFT (s)", "forecast and truth")
    _save(figure, path, title)


def promises(path: Path, title: str, runs: dict[str, Results]) -> None:
    """When refused clients were told to come back, and what became of them then."""
    figure, panels = plt.subplots(1, len(runs), figsize=(11, 3.6), sharey=True)
    for axes, (name, run) in zip(panels, runs.items(), strict=True):
        told = [each for each in run.attempts if each.retry_after is not None]
        axes.plot(
            [e.ended for e in told], [e.retry_after for e in told], ".", ms=2, color="#e0a030", label="told to wait"
        )
        back = [each for each in run.attempts if each.tries > 1]
        kept = [(each.arrived, each.ttft) for each in back if each.ttft is not None]
        if kept:
            axes.plot(*zip(*kept, strict=True), ".", ms=2, color="#1b6ca8", label="TTFT once back")
        count, good = report.kept_promises(run.attempts)
        _axes(axes, "time (s)", "seconds" if axes is panels[0] else "", f"{name}:\n{good} of {count} let in when back")
    panels[0].legend(fontsize=8, frameon=False, markerscale=5, loc="upper right")
    _save(figure, path, title)
