"""docs/kubernetes.md and docs/scaling.md: complete, and with the planner's figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import scaling_docs
from server.engine.kv_layout import layouts
from tests.kubernetes.manifests import OVERLAYS, ROOT, SOURCE

DOCS = ROOT / "docs"


@pytest.mark.parametrize("name", [*OVERLAYS, *sorted(path.name for path in (SOURCE / "components").iterdir())])
def test_every_overlay_and_component_is_named(name: str) -> None:
    assert f"`{name}`" in (DOCS / "kubernetes.md").read_text(encoding="utf-8")


def test_the_steps_are_what_the_planner_says_now() -> None:
    written = scaling_docs.TARGET.read_text(encoding="utf-8")
    with layouts() as ask:
        assert written == scaling_docs.with_table(written, ask), "run: python -m scripts.scaling_docs"


@pytest.mark.parametrize("document", ["kubernetes.md", "scaling.md"])
def test_links_and_tests_that_are_named_exist(document: str) -> None:
    text = (DOCS / document).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text):
        file = DOCS / target if target else DOCS / document
        assert file.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, anchor
    for path in re.findall(r"`((?:tests|deploy|scripts)/[\w/.\-]+)`", text):
        assert (ROOT / path).exists(), path


def test_versions_of_the_tools_are_those_that_are_pinned() -> None:
    pinned = dict(
        line.split("==")
        for line in (ROOT / "requirements" / "kubernetes.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    )
    told = (DOCS / "kubernetes.md").read_text(encoding="utf-8")
    for package, shown in (
        ("checkov", "checkov {}"),
        ("kubernetes-validate", "kubernetes-validate {}"),
        ("cloudcoil.models.keda", "KEDA {}"),
        ("cloudcoil.models.prometheus_operator", "Prometheus operator {}"),
    ):
        version = pinned[package]
        if package.startswith("cloudcoil"):
            version = ".".join(version.split(".")[:2])
        assert shown.format(version) in told
    template = Path(SOURCE / "overlays" / "fleet-vllm-router" / "router.yaml").read_text(encoding="utf-8")
    assert f"vllm-router {pinned['vllm-router']} on PyPI" in template
