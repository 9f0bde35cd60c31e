"""The table of docs/telemetry.md, from the recordings: what tells of each fault, and after how many seconds.

python -m tests.telemetry.faults_table   writes it
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.telemetry.faults import FAULTS
from tests.telemetry.prometheus_server import RULES
from tests.telemetry.recordings import Recording
from tests.telemetry.test_alert_rules import dashboards

DOCUMENT = Path(__file__).parents[2] / "docs" / "telemetry.md"
HEAD = ("fault", "red panel", "alert", "readiness", "line of the log", "what to do")
_TABLE = re.compile(r"^\| fault \| red panel .*?\n(?=\n)", re.MULTILINE | re.DOTALL)


def table() -> str:
    """In Markdown."""
    rows = [HEAD, ("---",) * len(HEAD), *map(_row, FAULTS)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def with_table(document: str) -> str:
    """The document with the table as it should be."""
    (_,) = _TABLE.findall(document)
    return _TABLE.sub(lambda _: table(), document)


def _row(name: str) -> tuple[str, ...]:
    fault, told, panel = FAULTS[name], Recording.read(name), dashboards().FAULTS[name]
    answer = next(each for each in told.readiness if re.search(fault.reason, each["body"]["reason"]))
    fields = [each for each in told.log if each not in ("event", "level", "room", "timestamp")]
    return (
        name.replace("_", " "),
        panel.title,
        f"`{fault.alert}` ({_severity(fault.alert)}) after {told.fired[fault.alert]} s",
        f'{answer["status"]} `{fault.condition}` after {answer["after"]:.0f} s: "{answer["body"]["reason"]}"',
        f"{told.log['level']} `{fault.event}`, with {', '.join(f'`{each}`' for each in fields)}",
        panel.action,
    )


def _severity(alert: str) -> str:
    groups = yaml.safe_load((RULES / "alerts.yaml").read_text())["groups"]
    (found,) = [rule["labels"]["severity"] for group in groups for rule in group["rules"] if rule["alert"] == alert]
    return str(found)


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
