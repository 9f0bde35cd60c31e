"""Profiles as files: extending, and what a mistake in one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.engine.arguments import UNEXPLAINED, engine_arguments, explained_arguments, explained_environment
from server.engine_argument_names import engine_argument_names
from server.profile_files import ProfileError, profiles, read_profile
from server.settings import known_keys, load


def write(folder: Path, name: str, content: str) -> str:
    file = folder / f"{name}.yaml"
    file.write_text(content)
    return str(file)


def test_a_profile_extends_another_which_extends_a_third(tmp_path: Path) -> None:
    write(
        tmp_path, "first", "server: {port: 1, host: first}\nengine: {dtype: float16, seed: 1}\nmodel: {aliases: [a, b]}"
    )
    write(tmp_path, "second", "extends: first.yaml\nserver: {port: 2}\nengine: {seed: 2}\nmodel: {aliases: [c]}")
    settings = load(write(tmp_path, "third", "extends: second.yaml\nserver: {drain_seconds: 3}"))
    assert (settings.server.host, settings.server.port, settings.server.drain_seconds) == ("first", 2, 3.0)
    assert settings.engine == {"dtype": "float16", "seed": 2}
    assert settings.model.aliases == ["c"], "lists are replaced, not joined"
    assert settings.profile == "third"


def test_a_profile_may_extend_one_that_ships_and_leave_an_argument_to_vllm(tmp_path: Path) -> None:
    settings = load(write(tmp_path, "mine", "extends: qwen3.5-397b-8xh200-fp8\nengine: {mm_encoder_tp_mode: null}"))
    arguments = engine_arguments(settings)
    assert arguments["data_parallel_size"] == 8
    assert "mm_encoder_tp_mode" not in arguments


def test_what_extends_itself_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "one", "extends: two.yaml")
    with pytest.raises(ProfileError, match=r"circle: two -> one -> two"):
        load(write(tmp_path, "two", "extends: one.yaml"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("servre: {}", "`servre` is not a setting. Did you mean `server`?"),
        ("server: {prot: 1}", "`server.prot` is not a setting. Did you mean `server.port`?"),
        ("hardware: {gpu: H200, gpus: 8}", "`hardware.gpus` is not a setting. Did you mean `hardware.gpu`?"),
        (
            "admission: {classes: {batch: {ttft_second: 1}}}",
            "`admission.classes.batch.ttft_second` is not a setting. "
            "Did you mean `admission.classes.batch.ttft_seconds`?",
        ),
        (
            "engine: {tensor_parallel: 8}",
            "`engine.tensor_parallel` is not an argument of this vLLM's engine. "
            "Did you mean `engine.tensor_parallel_size`?",
        ),
        ("engine: {zzzz: 1}", "`engine.zzzz` is not an argument of this vLLM's engine."),
        (
            "engine: {max_num_seqs: 1}\nreasons: {max_num_seq: few}",
            "`reasons.max_num_seq` explains nothing. Did you mean `reasons.max_num_seqs`?",
        ),
        ("extends: generik", "`extends` names 'generik', which is no profile. Did you mean `generic`?"),
        ("extends: [generic]", "`extends` must be the name of one profile"),
    ],
)
def test_a_misspelt_key_is_named_with_its_file_and_the_right_one(tmp_path: Path, content: str, told: str) -> None:
    profile = write(tmp_path, "mine", content)
    with pytest.raises(ProfileError) as refused:
        load(profile)
    assert str(refused.value) == f"{profile}: {told}"


def test_a_mistake_in_a_file_that_is_extended_names_that_file(tmp_path: Path) -> None:
    base = write(tmp_path, "base", "server: {prot: 1}\nengine: {max_num_seq: 1}")
    with pytest.raises(ProfileError) as refused:
        load(write(tmp_path, "mine", "extends: base.yaml"))
    first, second = str(refused.value).splitlines()
    assert first.startswith(f"{base}: `server.prot`")
    assert second.startswith(f"{base}: `engine.max_num_seq`")


def test_an_unknown_profile_names_what_is_near_and_what_there_is() -> None:
    with pytest.raises(ProfileError, match=r"Did you mean `qwen3.5-397b-8xh200-fp8`\? There are: generic, .*reference"):
        load("qwen3.5-397b-8xh200-fp-8")


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("QWEND_SERVRE__PORT", "`servre` is not a setting. Did you mean `server`?"),
        ("QWEND_SERVER__PROT", "`server.prot` is not a setting. Did you mean `server.port`?"),
        ("QWEND_ENGINE__MAX_NUM_SEQ", "is not an argument of this vLLM's engine. Did you mean `engine.max_num_seqs`?"),
    ],
)
def test_a_misspelt_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, told: str) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ProfileError) as refused:
        load("generic")
    assert str(refused.value).startswith(f"environment variable {variable}: ")
    assert told in str(refused.value)


def test_what_kubernetes_puts_into_the_environment_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEND_PORT", "tcp://10.0.0.1:8000")
    monkeypatch.setenv("QWEND_SERVICE_HOST", "10.0.0.1")
    assert load("generic").server.port == 8000


def test_the_engines_arguments_are_read_without_vllm() -> None:
    names = engine_argument_names()
    assert {
        "model",
        "tensor_parallel_size",
        "long_prefill_token_threshold",
        "enable_logging_iteration_details",
    } <= names
    assert len(names) > 150
    assert not {"_api_process_count", "create_engine_config"} & names


@pytest.mark.parametrize("name", sorted(profiles()))
def test_every_argument_of_a_shipped_profile_has_its_reason(name: str) -> None:
    settings = load(name)
    assert settings.description
    for explained in (*explained_arguments(settings), *explained_environment(settings)):
        assert len(explained.reason) > 15, explained
        assert explained.reason != UNEXPLAINED, explained.name
        assert "gives no reason" not in explained.reason, explained.name


@pytest.mark.parametrize("name", sorted(profiles()))
def test_a_shipped_file_explains_what_it_sets_itself(name: str) -> None:
    """Else an argument that is overridden would be explained by the reason of the value that it replaces."""
    for file, values in read_profile(name, known_keys).files:
        chosen = {**values.get("engine", {}), **values.get("engine_environment", {})}
        unexplained = {key for key, value in chosen.items() if value is not None} - set(values.get("reasons", {}))
        assert not unexplained, file.name


def test_a_reason_goes_when_its_value_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = write(tmp_path, "mine", "extends: qwen3.5-397b-8xh200-fp8\nengine: {kv_cache_dtype: auto}")
    reasons = {argument.name: argument.reason for argument in explained_arguments(load(profile))}
    assert reasons["kv_cache_dtype"] == f"Set in {profile}, which gives no reason."
    monkeypatch.setenv("QWEND_ENGINE__MAX_NUM_SEQS", "8")
    monkeypatch.setenv("QWEND_ENGINE__HF_OVERRIDES__TEXT_CONFIG__ROPE_PARAMETERS__FACTOR", "2.0")
    monkeypatch.setenv("QWEND_ENGINE_ENVIRONMENT__VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0")
    settings = load("qwen3.5-397b-8xh200-fp8-1m", {"engine": {"seed": 1}})
    rope = settings.engine["hf_overrides"]["text_config"]["rope_parameters"]
    assert (rope["rope_type"], rope["factor"]) == ("yarn", 2.0)
    assert settings.engine_environment == {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "0"}
    (variable,) = (each for each in explained_environment(settings) if each.name == "VLLM_ALLOW_LONG_MAX_MODEL_LEN")
    assert variable.reason.startswith("Set by the environment variable QWEND_ENGINE_ENVIRONMENT__")
    reasons = {argument.name: argument.reason for argument in explained_arguments(settings)}
    assert reasons["hf_overrides"].startswith("Set by the environment variable QWEND_ENGINE__HF_OVERRIDES__")
    assert reasons["max_num_seqs"] == "Set by the environment variable QWEND_ENGINE__MAX_NUM_SEQS."
    assert reasons["seed"] == "Set on the command line."
