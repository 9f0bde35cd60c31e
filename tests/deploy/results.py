"""What a drill saw, kept under results/ for the documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "results"


def keep(name: str, figures: dict[str, Any]) -> None:
    """Writes `results/NAME.json` and prints it."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(figures, indent=2)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(f"{name}: {text}")
