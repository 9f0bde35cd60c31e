"""The recorded faults: over each one's series its alert fires and those of the others do not, and the overview's first
row is red for it alone. promtool evaluates the very rules and queries that are deployed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.telemetry.faults import FAULTS
from tests.telemetry.faults_table import DOCUMENT, with_table
from tests.telemetry.recorded_series import notation, on_grid
from tests.telemetry.recordings import FOLDER, Recording
from tests.telemetry.replay import samples as replayed
from tests.telemetry.test_alert_rules import dashboards

FIRED = 'group by (alertname) (last_over_time(ALERTS{alertstate="firing"}[1h]))'
# A panel is looked at in these seconds before the fault's end, when its alert has fired.
PANEL_SECONDS = 4


def check(told: Recording, folder: Path) -> None:
    """Raises AssertionError where anything does not name the fault, or names another."""
    fault = FAULTS[told.fault]
    assert any(
        each["status"] == fault.status
        and each["body"] != "no answer"
        and each["body"]["status"] == fault.condition
        and re.search(fault.reason, each["body"]["reason"])
        for each in told.readiness
    ), f"readiness does not tell: {told.readiness}"
    assert told.log["event"] == fault.event
    questions = [
        (told.planted, FIRED, {}),
        (told.alone, FIRED, {alert(fault.alert): 1.0}),
        (told.end, FIRED, dict.fromkeys([alert(fault.alert), *map(alert, fault.then)], 1.0)),
    ]
    for name, panel in dashboards().FAULTS.items():
        red = f"count(({panel.query}) >= {panel.red_from}) or on () vector(0)"
        questions.append((told.planted, red, {"{}": 0.0}))
        questions.append((told.alone - PANEL_SECONDS, red, {"{}": float(name == told.fault)}))
    told.ask(questions, folder)


def alert(name: str) -> str:
    return f'{{alertname="{name}"}}'


@pytest.mark.parametrize("name", FAULTS)
def test_its_alert_fires_and_no_other_and_its_panel_alone_is_red(name: str, tmp_path: Path) -> None:
    check(Recording.read(name), tmp_path)


def test_series_are_written_as_promtool_reads_them() -> None:
    samples = [None, None, 1.0, 1.0, 1.0, 2.0, None, None, None, 0.1235, 0.5]
    assert notation(samples) == "_x2 1x2 2 stale _x2 0.1235 0.5"
    assert replayed(notation(samples)) == samples
    assert on_grid({"values": [(10.1, "1"), (14.0, "2.5")]}, 10.0, 2.0, 4) == [1.0, None, 2.5, None]


def test_the_documents_table_says_what_was_recorded() -> None:
    document = DOCUMENT.read_text()
    assert document == with_table(document), "run: python -m tests.telemetry.faults_table"


def test_every_recording_is_of_a_fault() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(FAULTS)


def test_a_recording_that_is_another_faults_does_not_pass(tmp_path: Path) -> None:
    told = Recording.read("kv_cache_full")
    told.series = Recording.read("media_slow").series
    with pytest.raises(AssertionError, match="QwendMediaSlow"):
        check(told, tmp_path)
