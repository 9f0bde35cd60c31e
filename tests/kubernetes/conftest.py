from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.kubernetes.manifests import ROOT, VARIANTS, Document, build


@pytest.fixture(scope="session")
def tools() -> None:
    """kubectl, checkov and the schemas, in .kubernetes."""
    if os.environ.get("QWEND_TEST_WITHOUT_KUBERNETES") == "1":
        pytest.skip("QWEND_TEST_WITHOUT_KUBERNETES=1")
    script = ROOT / "scripts" / "install_kubernetes_tools.sh"
    done = subprocess.run([str(script)], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def built(tools: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Document]]:
    """Every variant as kustomize builds it."""
    folder: Path = tmp_path_factory.mktemp("manifests")
    return {str(variant): build(variant, folder) for variant in VARIANTS}


@pytest.fixture(params=[str(variant) for variant in VARIANTS])
def documents(request: pytest.FixtureRequest, built: dict[str, list[Document]]) -> list[Document]:
    return built[request.param]
