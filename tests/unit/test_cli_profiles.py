"""What `qwend profiles` prints, and that what it tells to run can be run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import server.cli
import server.daemon
import server.engine.headless
from server.cli import app
from server.engine.arguments import engine_arguments, explained_arguments
from server.profile_files import profiles
from server.settings import Settings, load

TWO_NODES = "qwen3.5-397b-2x8xh100-bf16"


def run(*arguments: str, exit_code: int = 0) -> str:
    done = CliRunner().invoke(app, ["profiles", *arguments])
    assert done.exit_code == exit_code, done.output
    return done.output


def test_the_list_has_every_profile_with_its_description() -> None:
    lines = dict(line.split(maxsplit=1) for line in run().splitlines())
    assert lines == {name: load(name).description for name in profiles()}
    assert "qwen3.5-397b-8xh200-fp8" in lines


def test_show_prints_each_argument_above_its_reason() -> None:
    printed = run("show", "qwen3.5-397b-8xh200-fp8")
    for argument in explained_arguments(load("qwen3.5-397b-8xh200-fp8")):
        assert f"  {argument.name} = {json.dumps(argument.value)}\n      {argument.reason.split()[0]}" in printed
    assert "  hardware.memory_gib = 139.8\n" in printed
    assert "  generation.sampling_thinking.temperature = 0.6\n" in printed
    assert "  admission.classes.interactive.ttft_seconds = 10.0\n" in printed


def test_show_as_json_is_what_the_engine_gets() -> None:
    shown = json.loads(run("show", "qwen3.5-397b-8xh200-fp8-1m", "--json"))
    settings = load("qwen3.5-397b-8xh200-fp8-1m")
    assert {argument["name"]: argument["value"] for argument in shown["engine_arguments"]} == engine_arguments(settings)
    assert shown["settings"]["hardware"]["gpu"] == "H200"
    assert {"name": "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "value": "1"}.items() <= shown["engine_environment"][-1].items()
    assert all(argument["reason"] for argument in shown["engine_arguments"])


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEND_QUOTAS__STORAGE_URL", "redis://:hidden@localhost:6379/0")
    assert "hidden" not in run("show", "generic")
    assert "hidden" not in run("show", "generic", "--json")


@pytest.mark.parametrize("command", ["show", "launch"])
def test_an_unknown_profile_ends_with_what_was_meant(command: str) -> None:
    assert "Did you mean `generic`?" in run(command, "generik", exit_code=2)


def test_one_node_is_one_command() -> None:
    (node,) = json.loads(run("launch", "qwen3.5-397b-8xh200-fp8-1m", "--json"))
    assert node["commands"] == [["qwend", "serve", "--profile", "qwen3.5-397b-8xh200-fp8-1m"]]
    assert node["environment"] == {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}


def test_two_nodes_get_their_ranks_and_find_the_first() -> None:
    first, second = json.loads(run("launch", TWO_NODES, "--master-addr", "10.0.0.1", "--json"))
    serve = ["qwend", "serve", "--profile", TWO_NODES]
    assert first["commands"] == [[*serve, "--node-rank", "0", "--master-addr", "10.0.0.1"]]
    assert second["commands"] == [[*serve, "--node-rank", "1", "--master-addr", "10.0.0.1"]]
    assert first["environment"]["VLLM_HOST_IP"] == "10.0.0.1"
    assert second["environment"]["VLLM_HOST_IP"] == "NODE_1_ADDRESS"
    only = run("launch", TWO_NODES, "--master-addr", "10.0.0.1", "--node-rank", "1")
    assert "--node-rank 1 " in only
    assert "--node-rank 0 " not in only


def test_on_ray_only_the_first_node_serves() -> None:
    first, second = json.loads(run("launch", TWO_NODES, "--executor", "ray", "--master-addr", "10.0.0.1", "--json"))
    assert first["commands"][0][:3] == ["ray", "start", "--head"]
    assert first["commands"][1] == ["qwend", "serve", "--profile", TWO_NODES, "--executor", "ray"]
    assert second["commands"] == [["ray", "start", "--address=10.0.0.1:6379", "--block"]]
    arguments = engine_arguments(load(TWO_NODES, {"engine": {"distributed_executor_backend": "ray"}}))
    assert arguments["distributed_executor_backend"] == "ray"
    assert "nnodes" not in arguments, "vLLM takes these with its own processes alone"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((TWO_NODES, "--node-rank", "2"), "there is no node 2"),
        ((TWO_NODES, "--node-rank", "-1"), "there is no node -1"),
        ((TWO_NODES, "--executor", "rey"), "one of mp, ray"),
        (("generic", "--executor", "ray"), "Ray is for several nodes"),
    ],
)
def test_what_cannot_be_launched_is_refused(arguments: tuple[str, ...], told: str) -> None:
    assert told in run("launch", *arguments, exit_code=2)


@pytest.mark.parametrize("executor", ["mp", "ray"])
def test_serve_takes_the_commands_that_launch_prints(executor: str) -> None:
    group = typer.main.get_command(app)
    for node in json.loads(run("launch", TWO_NODES, "--executor", executor, "--json")):
        for program, *arguments in node["commands"]:
            if program == "qwend":
                command, *options = arguments
                parsed = group.commands[command].make_context(command, options).params
                assert parsed["profile"] == TWO_NODES


def test_a_node_above_the_first_runs_workers_and_no_api(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Settings] = []

    def workers(settings: Settings) -> int:
        ran.append(settings)
        return 0

    def leave(code: int) -> None:
        raise SystemExit(code)

    def serves(settings: Settings) -> int:
        raise AssertionError("this node is to serve nothing")

    monkeypatch.setattr(server.engine.headless, "run_workers", workers)
    monkeypatch.setattr(server.daemon, "run", serves)
    # It holds on to the standard error that it finds, which here is closed after this test.
    monkeypatch.setattr(server.cli, "configure_logs", lambda *_: None)
    monkeypatch.setattr(os, "_exit", leave)
    command = ["serve", "--profile", TWO_NODES, "--node-rank", "1", "--master-addr", "10.0.0.1"]
    assert CliRunner().invoke(app, command).exit_code == 0
    (settings,) = ran
    arguments = engine_arguments(settings)
    assert (arguments["nnodes"], arguments["node_rank"], arguments["master_addr"]) == (2, 1, "10.0.0.1")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--node-rank", "1"], "--master-addr is needed"),
        ([], "--master-addr is needed"),
        (["--node-rank", "2", "--master-addr", "10.0.0.1"], "the profile has 2 nodes"),
    ],
)
def test_a_node_that_could_only_wait_is_not_started(
    monkeypatch: pytest.MonkeyPatch, options: list[str], told: str
) -> None:
    for starts in (server.daemon, server.engine.headless):
        monkeypatch.setattr(starts, "run" if starts is server.daemon else "run_workers", lambda settings: 1 / 0)
    done = CliRunner().invoke(app, ["serve", "--profile", TWO_NODES, *options])
    assert (done.exit_code, told in done.output) == (2, True), done.output


def test_a_profile_file_of_ones_own_is_launched_by_its_path(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"extends: {TWO_NODES}\nhardware: {{nodes: 3}}\nengine: {{pipeline_parallel_size: 3}}")
    nodes = json.loads(run("launch", str(mine), "--json"))
    assert [node["rank"] for node in nodes] == [0, 1, 2]
    assert nodes[2]["commands"][0][3] == str(mine)
