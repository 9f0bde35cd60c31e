"""The chaos table: what each fault did, as it was seen from outside."""

from __future__ import annotations

from pathlib import Path

PATH = Path(__file__).parents[2] / "results" / "chaos.md"
HEAD = (
    "| fault | what clients saw | what health said, and when | exit code | what was lost |",
    "| --- | --- | --- | --- | --- |",
)


class Table:
    """Written anew after each row, so that a run which is cut off leaves what it had."""

    def __init__(self) -> None:
        self._rows: list[str] = []

    def add(self, fault: str, clients: str, health: str, code: str, lost: str) -> None:
        self._rows.append(f"| {fault} | {clients} | {health} | {code} | {lost} |")
        print(self._rows[-1])
        PATH.parent.mkdir(exist_ok=True)
        PATH.write_text("\n".join((*HEAD, *self._rows, "")), encoding="utf-8")
