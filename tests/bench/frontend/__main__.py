"""The front-end benchmark: `python -m tests.bench.frontend [PART]`, by default all parts but `together`.

Writes results/frontend.json, each part into its own key, and results/frontend.png.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.frontend.first_token import first_tokens
from tests.bench.frontend.peers import Peer, VllmPython, at_hand
from tests.bench.frontend.plot import plot
from tests.bench.frontend.side_by_side import rows, summary
from tests.bench.frontend.stalls import CONTEXT, LettingIn, stalls
from tests.bench.frontend.synthetic import carried, memory
from tests.bench.frontend.telemetry_cost import LOADS, telemetry_costs
from tests.bench.frontend.together import shown, together

RESULTS = Path("results")


def peers(profile: str, widths: list[int], rounds: int) -> list[dict[str, Any]]:
    return compared(shown(rows([partial(kind, profile) for kind in at_hand()], widths, rounds)))


def compared(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    told = summary(found, beside="vllm-python")
    plot(told, RESULTS / "frontend.png")
    return told


def with_long_context(profile: str, rounds: int) -> list[dict[str, Any]]:
    kinds: list[Callable[[], Peer]] = [partial(LettingIn, profile), partial(VllmPython, profile)]
    # Both read their settings from the environment of the profile's loader.
    os.environ["QWEND_MODEL__MAX_MODEL_LEN"] = str(CONTEXT)
    try:
        return shown(stalls(kinds, rounds))
    finally:
        del os.environ["QWEND_MODEL__MAX_MODEL_LEN"]


def keep(name: str, found: list[dict[str, Any]]) -> None:
    """Puts what a part found among the results, and shows it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "frontend.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept[name] = found
    kept["machine"] = {"python": platform.python_version(), "processor": platform.processor(), "cores": os.cpu_count()}
    path.write_text(json.dumps(kept, indent=1))
    show(found)


def show(found: list[dict[str, Any]]) -> None:
    table = Table(*found[0])
    for row in found:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=200).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", default="all")
    parser.add_argument("--widths", default="1,32,256", help="streams at once")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--stall-rounds", type=int, default=1)
    parser.add_argument("--profile", default="reference-cpu", help="of the peers' engines; the model's name must stay")
    given = parser.parse_args()
    widths = [int(each) for each in given.widths.split(",")]
    # Told to end, it must end the servers that it started, as it does when it fails.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "first-token": lambda: first_tokens(given.profile),
        "synthetic": lambda: list(carried()),
        "memory": lambda: [memory()],
        "telemetry": lambda: shown(
            telemetry_costs([int(each) for each in given.widths.split(",") if int(each) in LOADS])
        ),
        "stalls": lambda: with_long_context(given.profile, given.stall_rounds),
        "peers": lambda: peers(given.profile, widths, given.rounds),
    }
    if given.part not in (*parts, "together", "all"):
        parser.error(f"the parts are {', '.join(parts)}, together and all")
    if given.part == "together":
        for name, found in together(given.profile, widths, given.rounds, given.stall_rounds):
            keep(name, compared(found) if name == "peers" else found)
        return
    for name, run in parts.items():
        if given.part in (name, "all"):
            keep(name, run())


if __name__ == "__main__":
    main()
