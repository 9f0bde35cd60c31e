"""The documents say what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def reference_docs() -> object:
    spec = importlib.util.spec_from_file_location("reference_docs", ROOT / "scripts" / "reference_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says() -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == reference_docs().render(), "run: python scripts/reference_docs.py"


def test_the_table_of_profiles_is_what_the_files_say() -> None:
    written = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    assert written == reference_docs().with_profiles(written), "run: python scripts/reference_docs.py"
    assert "| `qwen3.5-397b-8xh200-fp8` | 8x H200 | fp8 | DP 8, EP | FP8 | 262,144 |" in written


def test_the_reference_lists_the_road() -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    for item in ("POST /v1/chat/completions", "GET /metrics", "QWEND_SERVER__PORT", "qwend_requests_total"):
        assert item in written


def test_links_between_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_commands_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), f"make {name}"


def test_every_metric_says_what_it_is_in_a_known_unit() -> None:
    docs = reference_docs()
    metrics = docs.own_metrics()
    assert len(metrics) > 40
    for metric in metrics:
        assert metric._documentation.endswith("."), metric._name
        assert metric._name.startswith(("qwend_", "gen_ai_server_")), metric._name
        if metric._type == "histogram":
            assert docs.unit(metric._name) != "count", metric._name
