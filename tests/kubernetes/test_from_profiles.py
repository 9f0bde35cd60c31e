"""The manifests say what the profiles say, and would not if a profile changed and nobody made them anew."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import server
from scripts.kubernetes.render import OVERLAYS, TARGET, Overlay, render
from server import profile_files
from server.cli_profiles import profiles_app
from tests.kubernetes.manifests import (
    ROOT,
    WITH_HPA,
    WITH_KEDA,
    Document,
    container,
    daemons,
    environment,
    one,
)

# What the hub shows of the 397B's repositories, in bytes (docs/planning.md).
PUBLISHED = {"bf16": 807e9, "fp8": 406e9}
# docs/operations.md, "Drain": what a grace period must have beside the drain.
END_SECONDS = 15
MIB, GIB = 2**20, 2**30


@pytest.fixture(autouse=True)
def _nothing_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("QWEND_", "VLLM_"))]:
        monkeypatch.delenv(name)


def _json(*command: str) -> Any:
    done = CliRunner().invoke(profiles_app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(params=OVERLAYS, ids=lambda overlay: overlay.name)
def overlay(request: pytest.FixtureRequest) -> Overlay:
    return request.param


@pytest.fixture
def documents(overlay: Overlay, built: dict[str, list[Document]]) -> list[Document]:
    return built[overlay.name]


@pytest.fixture
def settings(overlay: Overlay) -> Any:
    return _json("show", overlay.profile)["settings"]


def test_the_files_are_those_that_would_be_made_now() -> None:
    made = render()
    written = {
        path.relative_to(TARGET): path.read_text(encoding="utf-8")
        for folder in ("base", "components", "overlays")
        for path in (TARGET / folder).rglob("*")
        if path.is_file()
    }
    assert written == made, "run: make kubernetes"
    assert all(text.startswith("# Made by `make kubernetes` from ") for text in made.values())


@pytest.fixture
def profiles_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """config/profiles to change, in place of the real one."""
    real = profile_files.config_folder
    copy = tmp_path / "profiles"
    shutil.copytree(real("profiles"), copy)
    monkeypatch.setattr(profile_files, "config_folder", lambda name: copy if name == "profiles" else real(name))
    return copy


@pytest.mark.parametrize(
    ("part", "section", "key", "value", "shows"),
    [
        ("parts/qwen3.5-397b", "server", "drain_seconds", 120, "terminationGracePeriodSeconds: 150"),
        ("parts/qwen3.5-397b", "server", "port", 9000, "containerPort: 9000"),
        ("parts/qwen3.5-397b", "deployment", "memory_gib", 300, "memory: 300Gi"),
        ("parts/qwen3.5-397b", "deployment", "cpus", 48, 'cpu: "48"'),
        # 379 GiB at 1 GiB/s and 900 s, and 60 s more than the daemon gives itself, by 10 s.
        ("parts/qwen3.5-397b", "deployment", "weights_gib_per_second", 1.0, "failureThreshold: 134"),
        ("parts/qwen3.5-397b", "health", "end_stalled_seconds", 300, "failureThreshold: 33"),
        ("qwen3.5-397b-8xh200-fp8", "hardware", "gpus_per_node", 4, "nvidia.com/gpu: 4"),
        ("qwen3.5-397b-8xh200-fp8", "hardware", "gpu", "B200", "nvidia.com/gpu.product: NVIDIA-B200"),
        ("qwen3.5-397b-8xh200-fp8", "weights", "precision", "bf16", "failureThreshold: 247"),
        ("qwen3.5-397b-8xh200-fp8", "engine", "mm_processor_cache_gb", 8, "sizeLimit: 10Gi"),
    ],
)
def test_a_profile_that_changed_is_seen(
    profiles_copy: Path, part: str, section: str, key: str, value: object, shows: str
) -> None:
    before = render()
    file = profiles_copy / f"{part}.yaml"
    profile = yaml.safe_load(file.read_text(encoding="utf-8"))
    profile.setdefault(section, {})[key] = value
    if key == "gpus_per_node":
        profile["engine"]["data_parallel_size"] = value
    file.write_text(yaml.safe_dump(profile), encoding="utf-8")
    after = render()
    workload = Path("overlays/8xh200-throughput/workload.yaml")
    assert shows not in before[workload]
    assert shows in after[workload]


def test_containers_run_what_the_profile_is_launched_by(overlay: Overlay, documents: list[Document]) -> None:
    """With the cluster's own words for the nodes' addresses and ranks, and what serving in a pod adds."""
    leader = "$(VLLM_HOST_IP)" if overlay.executor == "ray" else "$(LWS_LEADER_ADDRESS)"
    nodes = _json("launch", overlay.profile, "--executor", overlay.executor, "--master-addr", leader)
    if len(nodes) > 1:
        named = ("--executor", overlay.executor, "--master-addr", "$(LWS_LEADER_ADDRESS)")
        nodes = [nodes[0], _json("launch", overlay.profile, *named)[1]]
    templates = [template for _, template in daemons(documents)]
    assert len(templates) == len(nodes)
    for rank, (node, template) in enumerate(zip(nodes, templates, strict=True)):
        wanted = [" ".join(command) for command in node["commands"]]
        if rank:
            wanted = [command.replace("--node-rank 1 ", "--node-rank $(LWS_WORKER_INDEX) ") for command in wanted]
        runs = container(template)
        if overlay.executor == "ray":
            assert runs["command"] == ["sh", "-c"]
            (script,) = runs["args"]
            said = script.replace("exec ", "").split(" && ")
        else:
            assert "command" not in runs
            said = [" ".join(["qwend", *runs["args"]])]
        assert said[:-1] == wanted[:-1]
        assert said[-1].startswith(wanted[-1])
        added = said[-1].removeprefix(wanted[-1]).split()
        assert bool(added) == (rank == 0)
        assert ("VLLM_HOST_IP" in node["environment"]) == ("VLLM_HOST_IP" in str(runs["env"]))
        if overlay.executor == "ray":  # the daemon sets it itself, Ray's own processes have only this
            own = {name: value for name, value in node["environment"].items() if name != "VLLM_HOST_IP"}
            assert own.items() <= environment(template).items()
    if len(nodes) > 1:
        group = one(documents, "LeaderWorkerSet", "qwend-nodes")["spec"]["leaderWorkerTemplate"]
        assert group["size"] == _json("show", overlay.profile)["settings"]["hardware"]["nodes"]


def test_gpus_memory_and_ports_are_the_profiles(overlay: Overlay, documents: list[Document], settings: Any) -> None:
    arguments = {each["name"]: each["value"] for each in _json("show", overlay.profile)["engine_arguments"]}
    parallel = math.prod(arguments.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline", "data"))
    hardware, deployment = settings["hardware"], settings["deployment"]
    for name, template in daemons(documents):
        resources = container(template)["resources"]
        gpus = int(resources["limits"].get("nvidia.com/gpu", 0))
        assert gpus == hardware["gpus_per_node"]
        assert gpus == (parallel // hardware["nodes"] if hardware["gpu"] else 0)
        assert (hardware["gpu"] or "") in str(template["spec"].get("nodeSelector", ""))
        assert resources["requests"]["memory"] == resources["limits"]["memory"] == f"{deployment['memory_gib']}Gi"
        assert resources["requests"]["cpu"] == str(deployment["cpus"])
        assert container(template)["image"].endswith(f":{server.__version__}-{'cuda' if gpus else 'cpu'}")
        if not name.endswith("workerTemplate"):
            assert [port["containerPort"] for port in container(template)["ports"]] == [settings["server"]["port"]]
    assert one(documents, "Service", "qwend")["spec"]["ports"][0]["port"] == settings["server"]["port"]


def test_shared_memory_is_what_doctor_asks(overlay: Overlay, documents: list[Document], settings: Any) -> None:
    """The same sum by hand: 10 chunks of 16 MiB an engine, 10 of 24 a worker, 6 of 4 a group, NCCL, the media cache."""
    engine = {each["name"]: each["value"] for each in _json("show", overlay.profile)["engine_arguments"]}
    gpus = settings["hardware"]["gpus_per_node"]
    workers = max(1, gpus)
    engines = engine.get("data_parallel_size", 1)
    needed = 0
    if workers > engines or not gpus:
        needed += engines * 160 * MIB + workers * 240 * MIB
    if workers > engines:
        needed += engines * 24 * MIB
    if gpus > 1:
        needed += GIB
    if engine.get("mm_processor_cache_type") == "shm":
        needed += int(engine.get("mm_processor_cache_gb", 4) * GIB)
    for _, template in daemons(documents):
        (volume,) = [each for each in template["spec"]["volumes"] if each["name"] == "shm"]
        assert volume["emptyDir"]["medium"] == "Memory"
        size = int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * GIB
        assert needed < size <= needed + 2 * GIB
        (mount,) = [each for each in container(template)["volumeMounts"] if each["name"] == "shm"]
        assert mount["mountPath"] == "/dev/shm"
        # It counts as memory; processes take what `qwend doctor` expects of them (docs/doctor.md, "memory").
        processes = (1 + engines + (0 if gpus else workers)) * GIB + 5 * gpus * GIB
        assert size + processes <= settings["deployment"]["memory_gib"] * GIB


def test_probes_leave_the_time_that_a_start_takes(overlay: Overlay, documents: list[Document], settings: Any) -> None:
    deployment = settings["deployment"]
    weights = PUBLISHED[settings["weights"]["precision"]] / GIB if settings["hardware"]["gpu"] else 0
    start = weights / deployment["weights_gib_per_second"] + deployment["warm_up_seconds"]
    (_, template), *workers = daemons(documents)
    probes = container(template)
    own = float(environment(template)["QWEND_HEALTH__START_SECONDS"])
    assert own == pytest.approx(start, rel=0.01)
    startup = probes["startupProbe"]["periodSeconds"] * probes["startupProbe"]["failureThreshold"]
    assert own + 60 <= startup <= own + 70
    # The daemon's own end of a stalled engine comes first, with its reason.
    liveness = probes["livenessProbe"]["periodSeconds"] * probes["livenessProbe"]["failureThreshold"]
    assert liveness >= settings["health"]["end_stalled_seconds"] + 20
    paths = {name: probes[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/health/ready", "liveness": "/health/live", "readiness": "/health/ready"}
    assert all(probes[f"{name}Probe"]["httpGet"]["port"] == "http" for name in paths)
    for _, worker in workers:
        assert not [name for name in container(worker) if name.endswith("Probe")]


def test_grace_periods_outlast_the_drain(documents: list[Document], settings: Any) -> None:
    drain = settings["server"]["drain_seconds"]
    (_, template), *workers = daemons(documents)
    lead = container(template)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert lead >= 5
    assert template["spec"]["terminationGracePeriodSeconds"] == lead + drain + END_SECONDS
    for _, worker in workers:
        stays = container(worker)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert stays == lead + drain
        assert worker["spec"]["terminationGracePeriodSeconds"] >= stays + END_SECONDS


def test_weights_are_fetched_from_where_the_profile_has_them(documents: list[Document], settings: Any) -> None:
    if not settings["hardware"]["gpu"]:
        assert "qwend-weights" not in str(documents)
        return
    told = one(documents, "ConfigMap", "qwend-weights")["data"]
    assert told["repository"] == settings["model"]["path"]
    size = one(documents, "PersistentVolumeClaim", "qwend-weights")["spec"]["resources"]["requests"]["storage"]
    assert size == told["volume"]
    published = PUBLISHED[settings["weights"]["precision"]] / GIB
    assert 1.05 * published < int(size.removesuffix("Gi")) < 1.2 * published
    fetches = container(one(documents, "Job", "qwend-weights")["spec"]["template"])
    assert "/models/weights" in fetches["args"]
    assert fetches["image"].endswith(f":{server.__version__}-cpu")
    for _, template in daemons(documents):
        assert environment(template)["QWEND_MODEL__PATH"] == "/models/weights"


def test_what_scales_knows_how_long_a_start_and_an_end_take(built: dict[str, list[Document]]) -> None:
    starts, graces = [], []
    for each in OVERLAYS:
        (_, template), *_ = daemons(built[each.name])
        starts.append(int(environment(template)["QWEND_HEALTH__START_SECONDS"]))
        graces.append(template["spec"]["terminationGracePeriodSeconds"])
    hpa = one(
        built[str(WITH_HPA)],
        "HorizontalPodAutoscaler",
        "qwend",
    )["spec"]
    keda = one(built[str(WITH_KEDA)], "ScaledObject", "qwend")["spec"]
    for behavior in (hpa["behavior"], keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]):
        assert behavior["scaleDown"]["stabilizationWindowSeconds"] == max(starts) <= 3600
        assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": max(graces)}]
        assert behavior["scaleUp"]["policies"] == [
            {"type": "Pods", "value": 2, "periodSeconds": min(max(starts), 1800)}
        ]
    assert keda["minReplicaCount"] == hpa["minReplicas"] == 1
    for spec in (hpa, keda):
        assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "qwend"}


def test_the_rules_are_those_that_prometheus_runs(built: dict[str, list[Document]]) -> None:
    rule = one(built[str(WITH_KEDA)], "PrometheusRule", "qwend")["spec"]
    groups = []
    for name in ("recording.yaml", "alerts.yaml"):
        groups += yaml.safe_load((ROOT / "deploy" / "prometheus" / name).read_text(encoding="utf-8"))["groups"]
    assert rule["groups"] == groups
