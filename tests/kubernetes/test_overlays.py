"""Overlays that are put together: a registry or a profile of one's own, and fleets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.kubernetes.render import FLEET_OF, OVERLAYS, TARGET, Overlay, render_overlay
from server.settings import load
from tests.kubernetes.manifests import Document, container, daemons, kustomize, pod_templates


@pytest.mark.parametrize("name", [overlay.name for overlay in OVERLAYS])
def test_a_registry_of_ones_own_is_said_once(name: str, tools: None, tmp_path: Path) -> None:
    copy = tmp_path / "kubernetes"
    shutil.copytree(TARGET, copy)
    file = copy / "overlays" / name / "kustomization.yaml"
    text = file.read_text(encoding="utf-8")
    uncommented = text.replace("# images:", "images:").replace("#   - {name: ghcr", "  - {name: ghcr")
    assert text.count("\n") == uncommented.count("\n")
    file.write_text(uncommented, encoding="utf-8")
    before, after = (
        [container(template)["image"] for _, template in pod_templates(kustomize(folder / "overlays" / name))]
        for folder in (TARGET, copy)
    )
    assert before
    assert after == [image.replace("ghcr.io/qwend/qwend", "registry.example.com/qwend") for image in before] != before


@pytest.mark.parametrize("extends", ["qwen3.5-397b-4xb200-nvfp4", "qwen3.5-397b-2x8xh100-bf16"])
def test_a_profile_of_ones_own_is_mounted(extends: str, tools: None, tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(f"extends: {extends}\nserver: {{drain_seconds: 45}}\n", encoding="utf-8")
    overlay = Overlay("mine", str(own))
    copy = tmp_path / "kubernetes"
    shutil.copytree(TARGET, copy)
    for path, text in render_overlay(overlay, overlay.figures()).items():
        (copy / path).parent.mkdir(exist_ok=True)
        (copy / path).write_text(text, encoding="utf-8")
    shutil.copy(own, copy / "overlays" / "mine" / "profile.yaml")
    documents = kustomize(copy / "overlays" / "mine")
    maps = {each["metadata"]["name"]: each["data"] for each in documents if each["kind"] == "ConfigMap"}
    for _, template in daemons(documents):
        args = container(template)["args"]
        assert args[:3] == ["serve", "--profile", "/etc/qwend/profile/profile.yaml"]
        (mount,) = [each for each in container(template)["volumeMounts"] if each["mountPath"] == "/etc/qwend/profile"]
        (volume,) = [each for each in template["spec"]["volumes"] if each["name"] == mount["name"]]
        assert maps[volume["configMap"]["name"]] == {"profile.yaml": own.read_text(encoding="utf-8")}
        assert template["spec"]["terminationGracePeriodSeconds"] == 15 + 45 + 15


@pytest.mark.parametrize("fleet", ["fleet-inference-gateway", "fleet-vllm-router"])
def test_a_fleet_is_replicas_of_one_overlay(fleet: str, built: dict[str, list[Document]]) -> None:
    single = {(each["kind"], each["metadata"]["name"]): each for each in built[FLEET_OF]}
    many = {(each["kind"], each["metadata"]["name"]): each for each in built[fleet]}
    assert single.keys() < many.keys()
    workload = many["StatefulSet", "qwend"]
    assert workload["spec"].pop("replicas") > 1
    variables = container(workload["spec"]["template"])["env"]
    added = [
        each for each in variables if each not in container(single["StatefulSet", "qwend"]["spec"]["template"])["env"]
    ]
    assert [each["name"] for each in added] == ["QWEND_QUOTAS__STORAGE_URL"]
    port = load("qwen3.5-397b-8xh200-fp8").server.port
    if fleet == "fleet-inference-gateway":
        assert many["InferencePool", "qwend"]["spec"]["targetPorts"] == [{"number": port}]
        selector = many["InferencePool", "qwend"]["spec"]["selector"]["matchLabels"].items()
    else:
        args = container(many["Deployment", "qwend-router"]["spec"]["template"])["args"]
        assert f"--service-discovery-port={port}" in args
        selector = [tuple(each.split("=")) for each in args[args.index("--selector") + 1 :][:2]]
    assert dict(selector).items() <= workload["spec"]["template"]["metadata"]["labels"].items()
