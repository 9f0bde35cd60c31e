from __future__ import annotations

from pathlib import Path

import pytest

from server.engine.arguments import engine_arguments, engine_environment
from server.profile_files import ProfileError, profiles
from server.settings import load


def test_flags_win_over_environment_over_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("reference-cpu").server.port == 8000
    monkeypatch.setenv("QWEND_SERVER__PORT", "9000")
    monkeypatch.setenv("QWEND_SERVER__DRAIN_SECONDS", "7")
    settings = load("reference-cpu", {"server": {"port": 9001}})
    assert (settings.server.port, settings.server.drain_seconds, settings.server.host) == (9001, 7.0, "127.0.0.1")
    assert settings.model.name == "qwen3.5-reference", "one setting of a section leaves its others to the profile"


def test_an_engine_argument_can_be_set_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEND_ENGINE__MAX_NUM_SEQS", "8")
    arguments = engine_arguments(load("reference-cpu"))
    assert arguments["max_num_seqs"] == 8
    assert arguments["enforce_eager"] is True


@pytest.mark.parametrize("name", sorted(profiles()))
def test_every_profile_loads(name: str) -> None:
    settings = load(name)
    assert settings.profile == name
    assert engine_arguments(settings)["served_model_name"] == settings.model.served_name


def test_the_embedded_checkpoint_is_found_and_needs_no_network() -> None:
    settings = load("reference-cpu")
    folder = Path(engine_arguments(settings)["model"])
    assert (folder / "chat_template.jinja").is_file()
    assert engine_environment(settings)["HF_HUB_OFFLINE"] == "1"


def test_a_models_name_is_its_paths_last_part() -> None:
    settings = load("generic", {"model": {"path": "Qwen/Qwen3.5-397B-A17B/"}})
    assert settings.model.served_name == "Qwen3.5-397B-A17B"
    assert engine_arguments(settings)["model"] == "Qwen/Qwen3.5-397B-A17B/"


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("server: {port: many}", "server.port"),
        ("generation: {sampling_thinking: {temperature: 9}}", "generation.sampling_thinking.temperature"),
        ("hardware: {nodes: 0}", "hardware.nodes"),
        ("weights: {precision: int3}", "weights.precision"),
        ("media: {fetch: hosts}", "media"),
        ("model: {aliases: ['*-*']}", "model.aliases"),
        ("generation: {strip_system_lines: ['(']}", "generation.strip_system_lines"),
        ("generation: {strip_system_lines: ['x*']}", "generation.strip_system_lines"),
        ("generation: {strip_system_lines: [" + "x" * 257 + "]}", "generation.strip_system_lines"),
        ("generation: {strip_system_lines: [" + "x," * 17 + "]}", "generation.strip_system_lines"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, content: str, wrong: str) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(content)
    with pytest.raises(ProfileError) as refused:
        load(str(profile))
    assert str(refused.value).startswith(f"{profile}: `{wrong}`: ")


def test_a_wrong_setting_is_named_with_its_variable_or_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProfileError, match=r"^command line: `server.port`: "):
        load("generic", {"server": {"port": -1}})
    monkeypatch.setenv("QWEND_SERVER__PORT", "many")
    with pytest.raises(ProfileError, match=r"^environment variable QWEND_SERVER__PORT: `server.port`: "):
        load("generic")


@pytest.mark.parametrize("content", ["a: [", "- a list"])
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, content: str) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(content)
    with pytest.raises(ProfileError):
        load(str(profile))


def test_fetching_is_off_unless_a_profile_allows_it() -> None:
    for name in profiles():
        assert load(name).media.fetch == "off"


@pytest.mark.parametrize("word", ["off", "'off'", "false"])
def test_off_is_off_although_yaml_reads_it_as_false(tmp_path: Path, word: str) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(f"media: {{fetch: {word}}}")
    assert load(str(profile)).media.fetch == "off"


@pytest.mark.parametrize(
    "media",
    [
        {"fetch": "hosts"},
        {"fetch": "public", "fetch_hosts": ["cats.example"]},
        {"fetch": "public", "fetch_private": True},
        {"fetch": True},
        {"fetch_seconds": 0},
    ],
)
def test_fetching_that_would_not_do_what_it_says_is_refused(media: dict[str, object]) -> None:
    with pytest.raises(ProfileError):
        load("generic", {"media": media})
