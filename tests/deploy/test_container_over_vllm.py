"""What is installed over an image's vLLM: policy over package metadata that is made up here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "container" / "over_vllm.py"
PROJECT = {
    "dependencies": ["web>=2", "log>=1"],
    "optional-dependencies": {"postgresql": ["driver[fast]>=1"], "gpu": ["vllm==0.32.0"]},
}
LOCKED = {
    name: f"{name}=={version}" for name, version in {"web": "2.5", "log": "1.1", "base": "3.0", "fast": "1.0"}.items()
}
LOCKED["driver"] = "driver==1.2"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, list[str]]]:
    """The image's packages: version and needs, by name."""
    return {}


@pytest.fixture
def script(here: dict[str, tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("over_vllm", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "installed", lambda name: here[name][0] if name in here else None)
    monkeypatch.setattr(module, "requires", lambda name: here[name][1])
    return module


def test_what_is_good_enough_stays_and_the_rest_is_asked_for(script: ModuleType, here: dict) -> None:
    here |= {"web": ("2.9", ["base>=1"]), "base": ("1.5", []), "driver": ("1.0", ["fast>=1; extra == 'fast'"])}
    assert script.lacking(PROJECT, LOCKED) == {"log", "fast"}, "newer than the lock is good enough, extras are followed"


def test_of_what_is_replaced_the_needs_are_not_asked(script: ModuleType, here: dict) -> None:
    here |= {"web": ("1.0", ["base<1"]), "base": ("3.0", []), "log": ("1.1", []), "driver": ("1.2", [])}
    assert script.lacking(PROJECT, LOCKED) == {"web"}
    here["web"] = ("2.5", ["base>=3"])
    assert script.lacking(PROJECT, LOCKED) == set(), "once it is there, its own needs are met"


def test_what_only_comes_along_is_asked_for_in_the_next_round(script: ModuleType, here: dict) -> None:
    here |= {"web": ("2.5", ["base>=3"]), "base": ("2.0", []), "log": ("1.1", []), "driver": ("1.2", [])}
    assert script.lacking(PROJECT, LOCKED) == {"base"}


@pytest.mark.parametrize(
    ("needs", "why"), [(["base>=4"], "the lock has base==3.0"), (["unheard-of>=1"], "the lock does not have it")]
)
def test_a_lock_that_does_not_fit_is_told_and_not_tried_for_ever(
    needs: list[str], why: str, script: ModuleType, here: dict
) -> None:
    here |= {"web": ("2.5", needs), "base": ("3.0", []), "log": ("1.1", []), "driver": ("1.2", [])}
    with pytest.raises(ValueError, match=why):
        script.lacking(PROJECT, LOCKED)


@pytest.mark.parametrize("found", [None, "0.31.0", "0.33.0"])
def test_another_vllm_ends_the_build(
    found: str | None, script: ModuleType, here: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    if found:
        here["vllm"] = (found, [])
    root = SCRIPT.parents[2]
    assert script.main(str(root / "pyproject.toml"), str(root / "requirements" / "serve-front.lock")) == 1
    assert "vllm==0.32.0 is needed" in capsys.readouterr().err
