"""Plays recordings to a real Prometheus and keeps what the overview's first row shows: for when its panels change.

python -m tests.telemetry.replay FAULT...   takes as long as the recording did
"""

from __future__ import annotations

import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.telemetry.prometheus_server import PrometheusServer
from tests.telemetry.recorded_series import MISSING, STALE, on_grid
from tests.telemetry.recordings import FOLDER, PANEL_STEP, Recording
from tests.telemetry.test_alert_rules import dashboards


def samples(notation: str) -> list[float | None]:
    """The other way round than `recorded_series.notation`."""
    found: list[float | None] = []
    for word in notation.split():
        match = re.fullmatch(rf"({MISSING}|{STALE}|[-+.e\d]+?)(?:x(\d+))?", word)
        assert match is not None, word
        value, times = match[1], int(match[2] or 0)
        if value == MISSING:
            found += [None] * (times or 1)
        else:
            found += [None if value == STALE else float(value)] * (times + 1)
    return found


class Player:
    """A server of metrics that says what the recorded daemon said, from now on."""

    def __init__(self, told: Recording) -> None:
        series = {name: samples(values) for name, values in told.series.items()}
        began = time.monotonic()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                place = int((time.monotonic() - began) / told.step)
                now = {name: values[place] for name, values in series.items() if place < len(values)}
                up = next((value for name, value in now.items() if name.startswith("up{")), 0.0)
                lines = [f"{name} {value}" for name, value in now.items() if value is not None and name[:3] != "up{"]
                self.send_response(200 if up else 503)
                self.end_headers()
                self.wfile.write(("\n".join(lines) + "\n").encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def strongest(shown: list[dict[str, Any]]) -> dict[str, Any]:
    """What a panel shows first, as one series: the greatest at each time."""
    points: dict[float, float] = {}
    for each in shown:
        for at, value in each["values"]:
            points[at] = max(points.get(at, float("-inf")), float(value))
    return {"values": [(at, points[at]) for at in sorted(points)]}


def panels(prometheus: PrometheusServer, begin: float, end: float) -> dict[str, list[float | None]]:
    """What each panel showed, every PANEL_STEP."""
    count = int(end - begin) // PANEL_STEP + 1
    found = {}
    for name, panel in dashboards().FAULTS.items():
        values = on_grid(strongest(prometheus.range(panel.query, begin, end, PANEL_STEP)), begin, PANEL_STEP, count)
        found[name] = [None if value is None else float(f"{value:.3g}") for value in values]
    return found


def main() -> None:
    for fault in sys.argv[1:]:
        path: Path = FOLDER / f"{fault}.yaml"
        told = Recording.read(fault)
        player, begin = Player(told), time.time()
        prometheus = PrometheusServer(f"127.0.0.1:{player.server.server_port}", told.step, honor_labels=True)
        time.sleep(begin + told.end - time.time())
        told.panels = panels(prometheus, begin, begin + told.end)
        prometheus.close()
        date = re.search(r"Recorded on (\S+)", path.read_text())
        assert date is not None
        told.write(date[1])


if __name__ == "__main__":
    main()
