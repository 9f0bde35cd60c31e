"""Writes the table of checks into docs/doctor.md, read from the code. A test fails when it is out of date.

python scripts/doctor_docs.py           # writes it
"""

from __future__ import annotations

from pathlib import Path

from server.doctor.examination import CHECKS
from server.doctor.report import as_table

TARGET = Path(__file__).parents[1] / "docs" / "doctor.md"

BEGIN, END = "<!-- checks -->\n", "<!-- end of checks -->\n"


def render(document: str) -> str:
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{as_table(CHECKS)}\n\n{END}{after}"


if __name__ == "__main__":
    TARGET.write_text(render(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
