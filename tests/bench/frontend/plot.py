"""The benchmark's picture: CPU per token by peer and number of streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def plot(summary: list[dict[str, Any]], to: Path) -> None:
    """Bars of microseconds a token with their spread, streamed answers above and whole ones below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    peers = list(dict.fromkeys(row["peer"] for row in summary))
    widths = sorted({row["streams"] for row in summary})
    figure, axes = plt.subplots(2, 1, figsize=(8, 7), sharex=True)
    for axis, streamed in zip(axes, (True, False), strict=True):
        for place, peer in enumerate(peers):
            rows = [row for row in summary if row["peer"] == peer and row["streamed"] == streamed]
            at = [widths.index(row["streams"]) + 0.8 * (place + 0.5) / len(peers) - 0.4 for row in rows]
            costs = [row["us_per_token"] for row in rows]
            below = [row["us_per_token"] - row["least"] for row in rows]
            above = [row["most"] - row["us_per_token"] for row in rows]
            axis.bar(at, costs, 0.75 / len(peers), yerr=[below, above], label=peer, capsize=2)
        axis.set_ylabel("CPU us per token")
        axis.set_title("streamed" if streamed else "whole answers")
        axis.grid(axis="y", alpha=0.3)
    axes[1].set_xticks(range(len(widths)), [f"{width} streams" if width > 1 else "1 stream" for width in widths])
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(to, dpi=100)
