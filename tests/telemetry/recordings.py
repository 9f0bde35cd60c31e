"""What a real daemon, scraped by a real Prometheus, told of a fault that was planted in it: files in recorded/."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.telemetry.prometheus_server import RULES, needed

FOLDER = Path(__file__).with_name("recorded")
# Those of our metrics that rules and the overview's first row read; `:` is in names of what rules record.
METRIC = re.compile(r"\b(?:qwend_[a-z_]+|up)\b(?![:\w])")

PANEL_STEP = 10
"""Seconds."""


@dataclass
class Recording:
    """Series are in promtool's notation, `step` seconds a value. Times are in seconds from the first of them: the fault
    is planted at `planted`, and until `alone` it is only this one.

    `readiness` has each different answer of /health/ready from then on, as (seconds after it, status, body); `log` the
    line that names the fault; `fired` the seconds after it at which the Prometheus that scraped had each alert firing;
    `panels` what each panel of the overview's first row showed there, from the first of the series on every PANEL_STEP.
    """

    fault: str
    step: int
    planted: int
    alone: int
    end: int
    readiness: list[dict[str, Any]]
    log: dict[str, Any]
    fired: dict[str, int]
    panels: dict[str, list[float | None]]
    series: dict[str, str] = field(repr=False)

    @classmethod
    def read(cls, fault: str) -> Recording:
        """The one that is kept."""
        return cls(**yaml.safe_load((FOLDER / f"{fault}.yaml").read_text()))

    def write(self, date: str, path: Path | None = None) -> None:
        """Keeps it."""
        head = (
            f"# Recorded on {date} from a real daemon with this fault, which a real Prometheus scraped:\n"
            f'# make record-faults ARGS="-k {self.fault}"\n'
        )
        told = yaml.safe_dump(asdict(self), sort_keys=False, width=10**9, allow_unicode=True)
        (path or FOLDER / f"{self.fault}.yaml").write_text(head + told)

    def ask(self, questions: list[tuple[int, str, dict[str, float]]], folder: Path) -> None:
        """Has promtool evaluate our rules over the series, and each expression at a time: it must give these series,
        by their labels as PromQL writes them, with these values. Raises AssertionError with what promtool says.
        """
        test = {
            "rule_files": sorted(map(str, RULES.glob("*.yaml"))),
            "evaluation_interval": f"{self.step}s",
            "tests": [
                {
                    "name": self.fault,
                    "interval": f"{self.step}s",
                    "input_series": [{"series": name, "values": values} for name, values in self.series.items()],
                    "promql_expr_test": [
                        {
                            "expr": expression,
                            "eval_time": f"{at}s",
                            "exp_samples": [{"labels": labels, "value": value} for labels, value in found.items()],
                        }
                        for at, expression, found in questions
                    ],
                }
            ],
        }
        path = folder / f"{self.fault}.json"
        path.write_text(json.dumps(test))
        done = subprocess.run(
            [needed("promtool"), "test", "rules", str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{self.fault}: {done.stdout}{done.stderr}"
