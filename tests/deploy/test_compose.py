"""deploy/compose.yaml as Docker Compose itself reads it, and the files that it mounts as their programs read them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.admission.tenant_file import TenantFile
from server.settings import load
from tests.telemetry.prometheus_server import needed

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
# What the engine and the log may take after the drain; docs/operations.md, "Drain".
ENDING_SECONDS = 15


def compose(profile: str, file: Path = DEPLOY / "compose.yaml") -> subprocess.CompletedProcess[str]:
    """Docker Compose's own reading of the file, with its variables at their defaults."""
    program = subprocess.run([ROOT / "scripts" / "docker_compose.sh"], capture_output=True, text=True, check=False)
    assert program.returncode == 0, program.stderr
    environment = {name: each for name, each in os.environ.items() if not name.startswith(("QWEND_", "COMPOSE_"))}
    return subprocess.run(
        [
            *(ROOT / program.stdout.strip(), "--project-directory", DEPLOY, "--file", file),
            *("--profile", profile, "config", "--format", "json"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def services(request: pytest.FixtureRequest) -> dict[str, Any]:
    done = compose(request.param)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


def qwend(services: dict[str, Any]) -> dict[str, Any]:
    (name,) = services.keys() & {"qwend", "qwend-cuda"}
    return services[name]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("pids_limit:", "pids_limt:"), ("start_interval:", "start_intervals:"), ("service_healthy", "service_helthy")],
)
def test_what_compose_does_not_know_is_refused(right: str, wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text((DEPLOY / "compose.yaml").read_text().replace(right, wrong))
    done = compose("cpu", file)
    assert done.returncode != 0
    assert "not allowed" in done.stderr or "must be one of" in done.stderr


def test_without_a_word_the_cpu_image_is_started() -> None:
    assert (DEPLOY / ".env").read_text().splitlines()[-1] == "COMPOSE_PROFILES=cpu"


def test_every_service_may_do_as_little_as_it_can(services: dict[str, Any]) -> None:
    assert services.keys() >= {"redis", "prometheus", "grafana"}
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["user"].partition(":")[0]) > 0, name
        assert service["healthcheck"]["test"], name
        assert "privileged" not in service, name
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", f"{name} is published to others"
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                assert mount["read_only"] is True, f"{name}: {mount['target']}"
    assert list(services["redis"]["networks"]) == ["quotas"], "nobody else reaches it"


def test_the_daemon_has_the_time_to_drain(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    service = qwend(services)
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load("reference-cpu")  # which would refuse a variable that is no setting
    minutes, seconds = re.fullmatch(r"(?:(\d+)m)?(\d+)s", service["stop_grace_period"]).groups(default="0")
    server = settings.server
    assert int(minutes) * 60 + int(seconds) >= server.lame_duck_seconds + server.drain_seconds + ENDING_SECONDS
    assert settings.quotas.storage_url.get_secret_value() == "redis://redis:6379/0"
    (tenants,) = (each["source"] for each in service["volumes"] if each["target"] == settings.tenants.file)
    directory = TenantFile(Path(tenants), lambda new: None).directory
    assert directory.find(None).tenant.quota.requests_per_minute == 600


def test_what_is_mounted_from_here_is_here(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for mount in service.get("volumes", []):
            # Weights are the operator's.
            if mount["type"] == "bind" and mount["target"] != "/models":
                assert Path(mount["source"]).exists(), f"{name}: {mount['source']}"


def test_prometheus_takes_its_configuration_with_the_rules(services: dict[str, Any], tmp_path: Path) -> None:
    mounts = {
        each["target"]: Path(each["source"]) for each in services["prometheus"]["volumes"] if each["type"] == "bind"
    }
    for target, source in mounts.items():
        (tmp_path / Path(target).relative_to("/etc/prometheus")).symlink_to(source)
    config = tmp_path / "prometheus.yaml"
    done = subprocess.run([needed("promtool"), "check", "config", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(list((DEPLOY / 'prometheus').glob('*.yaml')))} rule files found" in done.stdout
    scraped = yaml.safe_load(config.read_text())["scrape_configs"]
    (target,) = scraped[0]["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert host in qwend(services)["networks"]["front"]["aliases"]
    assert int(port) == qwend(services)["ports"][0]["target"]
    # By that name the rules look for the daemon.
    assert f'job="{scraped[0]["job_name"]}"' in (DEPLOY / "prometheus" / "alerts.yaml").read_text()


def test_grafana_finds_the_dashboards_and_their_source(services: dict[str, Any]) -> None:
    grafana = services["grafana"]
    mounts = {each["target"]: Path(each["source"]) for each in grafana["volumes"]}
    provisioning = mounts["/etc/grafana/provisioning"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "qwend.yaml").read_text())["providers"]
    dashboards = mounts[provider["options"]["path"]]
    assert {path.stem for path in dashboards.glob("*.json")} >= {"overview", "admission", "engine"}
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (dashboards / home.relative_to(provider["options"]["path"])).is_file()
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True
    # The dashboards take whichever source of this type there is, so the one that is made is taken.
    for path in dashboards.glob("*.json"):
        (variable,) = (
            each for each in json.loads(path.read_text())["templating"]["list"] if each["type"] == "datasource"
        )
        assert variable["query"] == source["type"]
