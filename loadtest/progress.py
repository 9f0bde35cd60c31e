"""How far a run is: one line that changes in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from loadtest.sender import Counters
from loadtest.statistics import quantile

_RECENT = 2000
_PLAIN_SECONDS = 5.0


class Progress:
    """Shows counters. Use it around a run and give `show` to it."""

    def __init__(self, title: str, duration: float, console: Console | None = None) -> None:
        self._title, self._duration = title, duration
        self._console = console or Console(stderr=True)
        self._live = (
            Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None
        )
        self._ttfts: deque[float] = deque(maxlen=_RECENT)
        self._lags: deque[float] = deque(maxlen=_RECENT)
        self._told = 0.0
        self._pieces, self._pieces_at, self._rate = 0, 0.0, 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, seconds: float, counters: list[Counters]) -> None:
        """So many seconds after the start the processes are so far."""
        for each in counters:
            self._ttfts.extend(each.ttfts)
            self._lags.extend(each.lags)
            # A process says each once; what was shown must not be shown again with its next silence.
            each.ttfts, each.lags = [], []
        pieces = sum(each.pieces for each in counters)
        if seconds < self._pieces_at:
            # Another run began.
            self._pieces = 0
            self._pieces_at = self._rate = 0.0
            self._ttfts.clear()
            self._lags.clear()
        if seconds - self._pieces_at >= 1.0:
            self._rate = (pieces - self._pieces) / (seconds - self._pieces_at)
            self._pieces, self._pieces_at = pieces, seconds
        values = self._values(seconds, counters)
        if self._live is not None:
            table = Table(title=self._title, title_justify="left", expand=False)
            for name in values:
                table.add_column(name, justify="right")
            table.add_row(*values.values())
            self._live.update(table, refresh=True)
        elif time.monotonic() - self._told >= _PLAIN_SECONDS:
            self._told = time.monotonic()
            print(self._title, *(f"{name}={value}" for name, value in values.items()), file=sys.stderr, flush=True)

    def _values(self, seconds: float, counters: list[Counters]) -> dict[str, str]:
        def total(name: str) -> str:
            return f"{sum(getattr(each, name) for each in counters):,}"

        def milliseconds(values: deque[float], part: float) -> str:
            return f"{1000 * quantile(values, part):.0f}ms" if values else "-"

        return {
            "time": f"{max(0.0, seconds):.0f}/{self._duration:.0f}s",
            **{name: total(name) for name in ("sent", "running", "finished", "refused", "failed", "cancelled")},
            "tokens/s": f"{self._rate:,.0f}",
            "ttft_p50": milliseconds(self._ttfts, 0.5),
            "ttft_p99": milliseconds(self._ttfts, 0.99),
            "lag_p99": f"{1000 * quantile(self._lags, 0.99):.1f}ms" if self._lags else "-",
        }
