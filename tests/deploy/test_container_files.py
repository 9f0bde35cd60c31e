"""The Dockerfile and what it is built from, as files; `make test-container` builds and runs it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def stage(name: str) -> str:
    """The text of one stage."""
    (found,) = re.findall(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return found


def script(name: str) -> object:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([ROOT / "scripts" / "hadolint.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_exception_for_hadolint_has_its_reason() -> None:
    lines = DOCKERFILE.splitlines()
    for number, line in enumerate(lines):
        if "hadolint ignore" in line:
            assert lines[number - 1].startswith("# "), "the line before says why"


def test_hadolint_would_see_a_shell_between_the_signal_and_the_daemon(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.replace('ENTRYPOINT ["qwend"]', "ENTRYPOINT qwend"))
    done = subprocess.run([ROOT / "scripts" / "hadolint.sh", bad], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "DL3025" in done.stdout


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_both_targets_end_alike(target: str) -> None:
    text = stage(target)
    for line in ("USER 10001:10001", "STOPSIGNAL SIGTERM", 'ENTRYPOINT ["qwend"]', 'CMD ["qwend-health"]'):
        assert line in text
    assert 'VOLUME ["/models", "/var/cache/qwend", "/var/lib/qwend"]' in text
    for key in ("title", "version", "revision", "source", "base.name"):
        assert f"org.opencontainers.image.{key}=" in text
    variables = dict(re.findall(r"^(?:ENV | {4})([A-Z_]+)=(\S+)", text, re.MULTILINE))
    common = dict(re.findall(r"^(?:ENV | {4})([A-Z_]+)=(\S+)", stage("cpu"), re.MULTILINE))
    assert common.items() <= variables.items()
    for name, value in variables.items():
        if value.startswith("/") and name != "PATH":
            assert value.startswith(("/var/cache/qwend", "/var/lib/qwend")), f"{name} leads onto the read-only root"


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_the_base_that_a_label_names_is_the_base(target: str) -> None:
    (base,) = re.findall(rf"^ARG {target.upper()}_BASE=([^@\n]+)", DOCKERFILE, re.MULTILINE)
    assert f'base.name="{base}"' in stage(target)


def test_the_cuda_base_has_the_vllm_that_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (vllm,) = project["optional-dependencies"]["gpu"]
    assert f"vllm/vllm-openai:v{vllm.partition('==')[2]}" in DOCKERFILE


def test_the_serving_locks_are_the_part_of_the_lock_that_serving_needs() -> None:
    locks = script("serving_locks")
    for name in locks.FILES:
        written = (ROOT / "requirements" / name).read_text()
        assert written == locks.render(name), "run: python scripts/serving_locks.py"
        assert "\npytest" not in written


def test_pinning_puts_a_digest_behind_each_tag_and_may_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a skopeo that answers without a registry."""
    (tmp_path / "bin").mkdir()
    skopeo = tmp_path / "bin" / "skopeo"
    skopeo.write_text('#!/bin/sh\nprintf "the manifest of %s" "$3"\n')
    skopeo.chmod(0o755)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "scripts" / "pin_images.py", tmp_path / "scripts")
    for name in ("Dockerfile", "deploy/compose.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setenv("PATH", f"{skopeo.parent}:{os.environ['PATH']}")
    command = [sys.executable, tmp_path / "scripts" / "pin_images.py"]
    for _ in range(2):
        assert subprocess.run(command, check=False).returncode == 0
    assert subprocess.run([*command, "--check"], check=False).returncode == 0
    digest = hashlib.sha256(b"the manifest of docker://docker.io/library/debian:bookworm-slim").hexdigest()
    pinned = (tmp_path / "Dockerfile").read_text()
    assert f"ARG CPU_BASE=docker.io/library/debian:bookworm-slim@sha256:{digest}\n" in pinned
    assert pinned.count("@sha256:") == 2
    images = re.findall(r"image: docker\.io\S+", (tmp_path / "deploy" / "compose.yaml").read_text())
    assert len(images) == 3
    assert all("@sha256:" in each for each in images)
