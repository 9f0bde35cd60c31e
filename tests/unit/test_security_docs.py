"""docs/security.md names a test for every known defect, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

# What users of such servers have met; a line for each.
DEFECTS = (
    *("CVE-2026-48746", "CVE-2026-48710", "vllm#52794", "vllm#58144", "CVE-2025-59425", "CVE-2025-6242"),
    *("CVE-2026-34753", "vllm#57157", "vllm#57825", "vllm#47010", "CVE-2026-34755", "CVE-2026-34756"),
    *("CVE-2026-22778", "CVE-2025-62426", "vllm#45118", "vllm#54003", "vllm#55473", "CVE-2025-48956"),
    *("CVE-2025-48944", "vllm#55164", "vllm#43920", "vllm#45390", "CVE-2025-62164", "CVE-2026-3108"),
)
ROWS = dict(re.findall(r"^\| ((?:CVE-|vllm#)[\d-]+) \|[^|]*\| ([^|]*) \|$", DOCUMENT, re.MULTILINE))
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)(?:\[([^\]]+)\])?`", DOCUMENT)


def cases(path: Path) -> str:
    """The source that a test's cases are written in: its own, and that of what it imports from beside it."""
    source = path.read_text(encoding="utf-8")
    modules = re.findall(r"^from (tests\.[\w.]+) import", source, re.MULTILINE)
    return source + "".join((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8") for module in modules)


def test_every_defect_has_a_line_and_no_other_has() -> None:
    assert set(ROWS) == set(DEFECTS)


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_line_names_a_test_or_says_why_none_can_apply(defect: str) -> None:
    assert "`tests/" in ROWS[defect] or "cannot apply: " in ROWS[defect]


@pytest.mark.parametrize(("file", "name", "case"), NAMED, ids=[f"{file}::{name}[{case}]" for file, name, case in NAMED])
def test_every_test_that_is_named_is_there(file: str, name: str, case: str) -> None:
    path = ROOT / file
    functions = {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert name in functions
    assert not case or f'"{case}"' in cases(path)


def test_there_are_as_many_as_were_written() -> None:
    assert len(NAMED) == DOCUMENT.count("`tests/") - len(re.findall(r"`tests/[\w/]+\.py`", DOCUMENT)) >= 30
