"""docs/doctor.md says what the checks are."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from server.doctor.examination import CHECKS
from server.profile_files import profiles

ROOT = Path(__file__).parents[3]
WRITTEN = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")


def test_the_table_is_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("doctor_docs", ROOT / "scripts" / "doctor_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.render(WRITTEN) == WRITTEN, "run: python scripts/doctor_docs.py"
    assert len(re.findall(r"^\| [^-]", WRITTEN, re.MULTILINE)) == len(CHECKS) + 1


def test_its_examples_name_profiles_that_there_are() -> None:
    named = re.findall(r"--profile (\S+)", WRITTEN)
    assert named
    assert set(named) <= set(profiles())


def test_the_report_that_it_shows_has_the_checks_of_today() -> None:
    shown = re.findall(r"^  (?:ok|warn|fail) +(.{18})", WRITTEN, re.MULTILINE)
    assert len(shown) > 10
    assert {name.strip() for name in shown} <= {check.name for check in CHECKS}
