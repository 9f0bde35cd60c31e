"""Draws docs/pictures/faults.png from the recordings: what each panel of the overview's first row showed in each fault.

python -m tests.telemetry.faults_picture
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

from tests.telemetry.faults import FAULTS
from tests.telemetry.recordings import PANEL_STEP, Recording
from tests.telemetry.test_alert_rules import dashboards

TARGET = Path(__file__).parents[2] / "docs" / "pictures" / "faults.png"
RED, GREEN = "#c4162a", "#37872d"
UNITS = {"s": "s", "short": "", "reqps": "/s", "percentunit": ""}


def main() -> None:
    panels = dashboards().FAULTS
    figure, axes = plt.subplots(len(FAULTS), len(panels), figsize=(15, 9), squeeze=False, layout="constrained")
    for number, (row, fault) in enumerate(zip(axes, FAULTS, strict=True)):
        told = Recording.read(fault)
        for cell, (name, panel) in zip(row, panels.items(), strict=True):
            values = told.panels.get(name, [None])
            times = [place * PANEL_STEP - told.planted for place in range(len(values))]
            shown = [float("nan") if value is None else value for value in values]
            red = [value is not None and value >= panel.red_from for value in values]
            cell.plot(times, shown, color="black", linewidth=1.2)
            for at, each in zip(times, red, strict=True):
                cell.axvspan(
                    at, at + PANEL_STEP, color=RED if each else GREEN, alpha=0.45 if each else 0.15, linewidth=0
                )
            cell.axvline(0, color="black", linewidth=0.6, linestyle=":")
            cell.set_ylim(bottom=0, top=max(1.3 * panel.red_from, *(1.1 * v for v in shown if v == v), 0.01))
            cell.set_xlim(times[0], times[-1] + PANEL_STEP)
            cell.tick_params(labelsize=7)
            if cell is row[0]:
                cell.set_ylabel(fault.replace("_", " "), fontsize=10, fontweight="bold")
            if number == 0:
                unit = UNITS[panel.unit]
                cell.set_title(f"{panel.title}{f' ({unit})' if unit else ''}", fontsize=9)
            if number == len(FAULTS) - 1:
                cell.set_xlabel("seconds since the fault", fontsize=8)
    figure.savefig(TARGET, dpi=90)


if __name__ == "__main__":
    main()
