"""Writes the plan, its picture and the table of measurements into docs/planning.md. A test fails when they are old.

python scripts/planning_docs.py
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from server.planning.measurements import MEASUREMENTS, ceiling
from server.planning.model_config import model_config

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "planning.md"
PICTURE = ROOT / "docs" / "pictures" / "plan-397b-8xh200-fp8.png"
COMMAND = ("plan", "--profile", "qwen3.5-397b-8xh200-fp8")


def with_plan(text: str, output: str) -> str:
    """`text` with its one block of plain text replaced by `output`."""
    shown = "\n".join(line.rstrip() for line in output.strip("\n").splitlines())
    return re.sub(r"(?<=\n```text\n).*?(?=\n```\n)", lambda _: shown, text, count=1, flags=re.DOTALL)


def with_measurements(text: str) -> str:
    """`text` with the rows of measurements as they are now."""
    _, model = model_config("qwen3.5-397b-a17b")
    rows = []
    for one in MEASUREMENTS:
        most = ceiling(one, model)
        cells = [one.hardware, one.weights, one.mtp_tokens, one.sequences, f"{one.input_tokens} / {one.output_tokens}"]
        cells += [f"{one.tokens_per_second:,.0f}", f"{most:,.0f}", f"{one.tokens_per_second / most:.2f}", one.engine]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return re.sub(r"(?:\| \d+x.*\|\n)+", lambda _: "\n".join(rows) + "\n", text, count=1)


def main() -> None:
    command = [sys.executable, "-m", "server.cli", *COMMAND, "--plot", str(PICTURE)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    written = TARGET.read_text(encoding="utf-8")
    TARGET.write_text(with_measurements(with_plan(written, done.stdout)), encoding="utf-8")
    print(json.dumps({"written": [str(TARGET), str(PICTURE)]}))


if __name__ == "__main__":
    main()
