"""Scenario files: what is misspelt is told, and what comes with the package is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest import scenario_files
from loadtest.plan import Setting, plan
from loadtest.scenario_schema import Scenario
from loadtest.strict import Misfit, parsed

PLAIN: dict[str, Any] = {
    "name": "plain",
    "tenants": [{"name": "a", "arrivals": {"process": "poisson", "rate": 5}}],
}


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(Misfit) as caught:
        parsed(Scenario, values, "file.yaml")
    return str(caught.value)


def tenant(**values: Any) -> dict[str, Any]:
    return {**PLAIN, "tenants": [{**PLAIN["tenants"][0], **values}]}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({**PLAIN, "durration": 5}, "file.yaml: unknown key `durration`; did you mean `duration`?"),
        (tenant(promt=5), "tenants[0]: unknown key `promt`; did you mean `prompt`?"),
        (
            tenant(arrivals={"process": "gamma", "rate": 1, "burstyness": 2}),
            "tenants[0].arrivals.gamma: unknown key `burstyness`; did you mean `burstiness`?",
        ),
        (tenant(arrivals={"process": "poison", "rate": 1}), "'poisson'"),
        (tenant(arrivals={"process": "poisson", "rate": "twice"}), "times the capacity as `1.5x`"),
        (tenant(arrivals={"process": "poisson", "rate": -1}), "not negative"),
        (tenant(prompt={"distribution": "uniform", "least": 5, "most": 2}), "`most` (2) is below `least` (5)"),
        (tenant(prompt={"distribution": "lognormal", "medain": 5}), "did you mean `median`?"),
        (tenant(cancels={"share": 1.5, "after": 1}), "tenants[0].cancels.share"),
        (tenant(key_env="sk-123456"), "names an environment variable"),
        ({**PLAIN, "tenants": PLAIN["tenants"] * 2}, "the same name"),
        ({**PLAIN, "duration": 5, "warmup": 5}, "must be shorter"),
        ({**PLAIN, "tenants": []}, "at least 1"),
        (
            {**tenant(arrivals={"process": "trace", "format": "azure"}), "sweep": {}},
            "a sweep needs arrivals of one rate",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(values: dict[str, Any], told: str) -> None:
    assert told in refusal(values)


def test_a_key_is_not_repeated_in_an_error() -> None:
    assert "sk-123456" not in refusal(tenant(key_env="sk-123456"))


def test_a_misspelt_scenario_is_told() -> None:
    with pytest.raises(Misfit, match="did you mean `steady`"):
        scenario_files.load("stedy")


@pytest.mark.parametrize("name", scenario_files.names())
def test_every_scenario_of_the_package_makes_requests(name: str) -> None:
    scenario = scenario_files.load(name)
    assert scenario.description
    shots = plan(scenario, Setting("model", capacity=4.0))
    assert shots
    assert {shot.tenant for shot in shots} == {each.name for each in scenario.tenants}


def test_the_kinds_that_are_promised_are_there() -> None:
    promised = {
        "steady", "overload-2x", "burst-10x", "one-tenant-flood", "long-among-short", "thinking-heavy", "agents",
        "images", "cancel-storm", "drain-under-load", "sweep",
    }  # fmt: skip
    assert promised <= set(scenario_files.names())


def test_paths_are_told_from_the_file(tmp_path: Path) -> None:
    values = tenant(arrivals={"process": "trace", "format": "azure", "path": "mine.csv"})
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(values))
    scenario = scenario_files.load(str(tmp_path / "s.yaml"))
    assert scenario.tenants[0].arrivals.path == tmp_path / "mine.csv"


def test_keys_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = [{"name": name, "arrivals": {"process": "poisson", "rate": 1}} for name in ("a", "b", "c")]
    two[1]["key_env"] = "LOADTEST_B"
    tenants = parsed(Scenario, {**PLAIN, "tenants": two}, "f").tenants
    file = tmp_path / "keys.yaml"
    file.write_text("a: key-of-a\n")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(Misfit, match="`LOADTEST_B` of tenant b is not set"):
        scenario_files.keys(tenants, file)
    monkeypatch.setenv("LOADTEST_B", "key-of-b")
    assert scenario_files.keys(tenants, file) == {"a": "key-of-a", "b": "key-of-b"}
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-all")
    assert scenario_files.keys(tenants, None) == {"a": "key-of-all", "b": "key-of-b", "c": "key-of-all"}


def test_a_bad_key_file_does_not_show_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("secret-key: [secret-key")
    with pytest.raises(Misfit) as caught:
        scenario_files.keys([], file)
    assert "secret" not in str(caught.value)
