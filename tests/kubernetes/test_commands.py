"""What containers are told to run is understood by the programs that it is told to."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

import server.cli
from server.admission.tenant_file import load
from server.engine.arguments import engine_arguments
from server.preflight import CannotStart, preflight
from server.settings import Settings
from tests.kubernetes.manifests import SOURCE, TOOLS, VARIANTS, Document, container, daemons, environment, one

ADDRESSES = {"LWS_LEADER_ADDRESS": "qwend-nodes-0.qwend-nodes.qwend", "VLLM_HOST_IP": "10.1.2.3", "NAMESPACE": "qwend"}


def _expanded(text: str, variables: dict[str, str]) -> str:
    """As the kubelet does it; one that is not known stays."""
    return re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), text)


def _daemon_command(template: Document, rank: int) -> list[str]:
    """The arguments of `qwend` on the node of that rank."""
    runs = container(template)
    variables = {**ADDRESSES, "LWS_WORKER_INDEX": str(rank)}
    args = [_expanded(arg, variables) for arg in runs["args"]]
    assert "$(" not in " ".join(args)
    if not runs.get("command"):
        return args
    assert runs["command"] == ["sh", "-c"]
    last = shlex.split(args[0].split(" && ")[-1])
    assert last[0] == "exec"
    return last[2:] if last[1] == "qwend" else []


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What `qwend serve` would have started, in place of starting it."""
    import server.daemon
    import server.engine.headless

    seen: list[Settings] = []
    for module, name in ((server.daemon, "run"), (server.engine.headless, "run_workers")):
        monkeypatch.setattr(module, name, lambda settings: seen.append(settings) or 0)
    monkeypatch.setattr(server.cli.os, "_exit", lambda code: None)
    monkeypatch.setattr(server.cli, "configure_logs", lambda *given: None)
    return seen


@pytest.mark.parametrize("variant", [str(each) for each in VARIANTS])
def test_qwend_serve_takes_them(
    variant: str, built: dict[str, list[Document]], started: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank, (name, template) in enumerate(daemons(built[variant])):
        command = _daemon_command(template, rank)
        if not command:  # Ray's own, on all nodes but the first
            assert name.endswith("workerTemplate")
            continue
        with monkeypatch.context() as pod:
            for variable, value in environment(template).items():
                pod.setenv(variable, value)
            done = CliRunner().invoke(server.cli.app, command)
        assert done.exit_code == 0, done.output
        settings = started.pop()
        arguments = engine_arguments(settings)
        nodes = settings.hardware.nodes
        ray = arguments.get("distributed_executor_backend") == "ray"
        assert (settings.node.rank, arguments.get("node_rank", 0)) == (rank, rank)
        assert arguments.get("nnodes", 1) == (1 if ray else nodes)
        if nodes > 1 and not ray:
            assert arguments["master_addr"] == ADDRESSES["LWS_LEADER_ADDRESS"]
        if rank == 0:
            assert (settings.server.host, settings.log.format) == ("0.0.0.0", "json")
            assert settings.server.admin_host == "127.0.0.1"
            _files_are_mounted(settings, template)
            _state_is_on_a_volume(template)
        if "weights-stream" in variant:
            assert arguments["model"].startswith("s3://")
            assert arguments["load_format"] == "runai_streamer"
            preflight(settings)  # which finds nothing to look at before the engine does
        elif settings.hardware.gpu:
            assert arguments["model"] == "/models/weights"
            if rank == 0:
                with pytest.raises(CannotStart, match="there is no folder /models/weights"):
                    preflight(settings)
            (mount,) = [each for each in container(template)["volumeMounts"] if each["name"] == "models"]
            assert "/models/weights".startswith(mount["mountPath"])
        assert arguments["served_model_name"] in ("qwen3.5-397b-a17b", "qwen3.5-reference")


def _files_are_mounted(settings: Settings, template: Document) -> None:
    mounts = {each["mountPath"]: each for each in container(template)["volumeMounts"]}
    volumes = {each["name"]: each for each in template["spec"]["volumes"]}
    for file, kind in ((settings.tenants.file, "configMap"), (settings.tenants.keys_file, "secret")):
        folder = mounts[str(Path(str(file)).parent)]
        assert kind in volumes[folder["name"]]
        assert "subPath" not in folder  # the kubelet would not bring changes


def _state_is_on_a_volume(template: Document) -> None:
    mounted = [each["mountPath"] for each in container(template)["volumeMounts"] if not each.get("readOnly")]
    variables = environment(template)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        assert variables[name] in mounted
    assert {"/tmp", "/dev/shm"} <= set(mounted)


def test_the_tenants_are_read_with_the_keys_that_qwend_makes(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    made = CliRunner().invoke(server.cli.app, ["keys", "create", "--file", str(keys), "--tenant", "default"])
    assert made.exit_code == 0, made.output
    key = made.stdout.strip().splitlines()[-1]
    caller = load(SOURCE / "base" / "tenants.yaml", keys=keys).find(key)
    assert caller.tenant.name == "default"


def test_vllm_router_takes_its_arguments(built: dict[str, list[Document]]) -> None:
    """By the parser of the release on PyPI, which the image's own may differ from."""
    template = one(built["fleet-vllm-router"], "Deployment", "qwend-router")["spec"]["template"]
    runs = container(template)
    assert runs["command"] == ["vllm-router"]
    args = [_expanded(arg, ADDRESSES) for arg in runs["args"]]
    parsed = _router_parses(args)
    assert "app.kubernetes.io/name" in parsed
    assert "'service_discovery_port': 8000" in parsed
    assert "'health_check_endpoint': '/health/ready'" in parsed
    with pytest.raises(AssertionError):
        _router_parses([*args, "--no-such-thing"])


def _router_parses(args: list[str]) -> str:
    script = (
        "import sys; from vllm_router.launch_router import parse_router_args as parse; print(vars(parse(sys.argv[1:])))"
    )
    done = subprocess.run(
        [str(TOOLS / "python"), "-c", script, *args], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
