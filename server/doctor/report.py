"""An examination as text for a terminal and as JSON for machines."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from itertools import groupby
from typing import Any

from server.doctor.examination import Examination
from server.doctor.findings import Check, Finding, Level
from server.doctor.start import Start

Paint = Callable[[str, Level | None], str]
"""Colours a text by its level; headings have none."""

_MARGIN, _NAME_WIDTH = 2, 18
_LEAST_WIDTH = 60
_QUANTITY = re.compile(r"(\d) ([KMGT]?i?B|s|ms)\b")


def as_text(
    examination: Examination, start: Start, *, seconds: float, width: int = 100, paint: Paint = lambda text, level: text
) -> str:
    """Lines of at most `width` columns, in groups, and a summary."""
    width = max(width, _LEAST_WIDTH)
    lines = [paint("qwend doctor", None) + f"  profile {start.profile}, model {start.model}"]
    for group, findings in groupby(examination.findings, key=lambda finding: finding.check.group):
        lines += ["", paint(group, None)]
        for finding in findings:
            lines += _told(finding, width, paint)
    counts = ", ".join(
        paint(f"{number} {level}", level)
        for level in Level
        if (number := examination.count(level)) or level is Level.OK
    )
    lines += ["", f"{counts}  ({seconds:.1f} s)"]
    if examination.not_checked:
        names = ", ".join(check.name for check in examination.not_checked)
        lines += textwrap.wrap(f"Nothing to check here: {names}.", width)
    return "\n".join(lines)


def as_json(examination: Examination, start: Start, *, seconds: float, version: str) -> dict[str, Any]:
    """The same as plain values. Names of checks and levels are stable; texts are for people and may change."""
    return {
        "qwend": version,
        "profile": start.profile,
        "model": start.model,
        "exit_code": examination.exit_code,
        "seconds": round(seconds, 2),
        "counts": {str(level): examination.count(level) for level in Level},
        "findings": [
            {
                "check": finding.check.name,
                "group": finding.check.group,
                "level": str(finding.level),
                "what": finding.what,
                "todo": finding.todo or None,
            }
            for finding in examination.findings
        ],
        "not_checked": [check.name for check in examination.not_checked],
    }


def as_table(checks: tuple[Check, ...]) -> str:
    """The table of docs/doctor.md."""
    rows = [("check", "what is looked at", "warns", "fails")]
    rows += [(f"{check.name}", check.looks_at, check.warns or "-", check.fails or "-") for check in checks]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "| --- | --- | --- | --- |", *lines[1:]])


def _told(finding: Finding, width: int, paint: Paint) -> list[str]:
    indent = " " * (_MARGIN + 6 + _NAME_WIDTH)
    head = f"{' ' * _MARGIN}{paint(f'{finding.level:<4}', finding.level)}  {finding.check.name:<{_NAME_WIDTH}}"
    first, *rest = _wrapped(finding.what, width - len(indent)) or [""]
    lines = [head + first, *(indent + line for line in rest)]
    for place, line in enumerate(_wrapped(finding.todo, width - len(indent) - 3)):
        lines.append(f"{indent}{paint('  ' if place else '->', finding.level)} {line}")
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Lines that break neither within a word, since it may be part of a command, nor between a number and its unit."""
    held = _QUANTITY.sub("\\1\N{NO-BREAK SPACE}\\2", text)
    lines = textwrap.wrap(held, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
