"""The pod of the overlay `reference-cpu`, run as its template says but without a cluster; see tests/kubernetes/pod.py.

Its image's entry point is stood in for by `python -m server.cli` from this checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import server.cli
from tests.kubernetes.manifests import SOURCE, Document, container, daemons, one
from tests.kubernetes.pod import ADDRESS, Pod, Volume, possible

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]

ASKED = {"model": "qwen3.5-reference", "messages": [{"role": "user", "content": "What is 17 + 25?"}]}


class Tried:
    """A pod that was started, its key, and the volume of its tenants."""

    def __init__(self, template: Document, tenants: str, folder: Path) -> None:
        group = template["spec"]["securityContext"]["fsGroup"]
        keys = folder / "keys.yaml"
        made = CliRunner().invoke(server.cli.app, ["keys", "create", "--file", str(keys), "--tenant", "default"])
        self.key = made.stdout.strip().splitlines()[-1]
        self.tenants = Volume(folder / "tenants", {"tenants.yaml": tenants}, 0o644, group)
        (mounted,) = [each for each in template["spec"]["volumes"] if each["name"] == "keys"]
        mode = mounted["secret"]["defaultMode"]
        secret = Volume(folder / "secret", {"keys.yaml": keys.read_text(encoding="utf-8")}, mode, group)
        self.template = template
        self.port = container(template)["ports"][0]["containerPort"]
        entry = [os.path.join(os.path.realpath(sys.prefix), "bin", "python"), "-m", "server.cli"]  # noqa: PTH118
        self.began = time.monotonic()
        self.pod = Pod(template, {"tenants": self.tenants, "keys": secret}, entry)

    def probe(self, name: str) -> bool:
        """Once, as the kubelet asks."""
        wanted = container(self.template)[f"{name}Probe"]
        address = f"{ADDRESS}:{self.port}"
        status, _ = self.pod.get(address, wanted["httpGet"]["path"], "--max-time", str(wanted["timeoutSeconds"]))
        return 200 <= status < 400

    def ask(self, *options: str) -> tuple[int, str]:
        body = ["-H", "content-type: application/json", "-d", json.dumps({**ASKED, "max_tokens": 400})]
        return self.pod.get(f"{ADDRESS}:{self.port}", "/v1/chat/completions", *body, *options)


@pytest.fixture(scope="module")
def tried(built: dict[str, list[Document]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    if not possible():
        pytest.skip("needs root, util-linux and iproute2, and a kernel that allows namespaces and mounts")
    documents = built["reference-cpu"]
    ((_, template),) = daemons(documents)
    tenants = one(documents, "ConfigMap", "qwend-tenants")["data"]["tenants.yaml"]
    folder = tmp_path_factory.mktemp("pod")
    folder.chmod(0o755)
    started = Tried(template, tenants, folder)
    try:
        yield started
    finally:
        started.pod.stop()


def test_it_starts_within_its_probes(tried: Tried) -> None:
    """Live all the time, ready within what the startup probe allows."""
    startup = container(tried.template)["startupProbe"]
    allowed = startup["periodSeconds"] * startup["failureThreshold"]
    while not tried.probe("startup"):
        assert tried.pod.running, tried.pod.log
        assert time.monotonic() - tried.began < allowed, tried.pod.log
        time.sleep(1)
    took = time.monotonic() - tried.began
    phases = [json.loads(line) for line in tried.pod.log.splitlines() if '"start"' in line]
    print(
        f"ready after {took:.0f} s of {allowed} s:",
        {each["done"]: each["seconds"] for each in phases if "done" in each},
    )
    assert tried.probe("liveness")
    assert tried.probe("readiness")


def test_it_runs_as_its_security_context_says(tried: Tried) -> None:
    fields = tried.pod.status_fields()
    assert set(fields["Uid"].split()) == set(fields["Gid"].split()) == {"10001"}
    assert (fields["NoNewPrivs"], fields["NSpid"].split()[-1]) == ("1", "1")
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert "Read-only" not in tried.pod.log


def test_a_key_is_asked_for_and_a_request_answered(tried: Tried) -> None:
    assert tried.ask()[0] == 401
    status, body = tried.ask("-H", f"authorization: Bearer {tried.key}")
    assert status == 200, body
    assert json.loads(body)["choices"][0]["finish_reason"] in ("stop", "length")


def test_nobody_else_reaches_the_admin_port(tried: Tried) -> None:
    assert tried.pod.get(f"{ADDRESS}:{tried.port}", "/health/live")[0] == 200
    assert tried.pod.get(f"127.0.0.1:{tried.port + 1}", "/admin/status")[0] == 200
    assert tried.pod.get(f"{ADDRESS}:{tried.port + 1}", "/admin/status")[0] == 0


def test_metrics_have_what_the_manifests_ask_for(tried: Tried, built: dict[str, list[Document]]) -> None:
    """The autoscalers' metrics, and those of the endpoint picker."""
    _, text = tried.pod.get(f"{ADDRESS}:{tried.port}", "/metrics")
    picker = one_picker_config(built)
    (engine,) = [each for each in picker["plugins"] if each["type"] == "core-metrics-extractor"]
    (names,) = engine["parameters"]["engineConfigs"]
    wanted = [value for name, value in names.items() if name.endswith("Spec")]
    wanted += ["qwend_admission_backlog_seconds", 'qwend_admission_used{resource="kv_tokens"}']
    wanted += ['qwend_admission_limit{resource="kv_tokens"}']
    lines = text.splitlines()
    for name in wanted:
        assert any(line.startswith((f"{name} ", f"{name}{{")) for line in lines), name


def one_picker_config(built: dict[str, list[Document]]) -> Document:
    (found,) = [
        each["data"]["picker-config.yaml"]
        for each in built["fleet-inference-gateway"]
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("qwend-picker")
    ]
    return yaml.safe_load(found)


def test_a_config_map_that_changes_is_read_again(tried: Tried) -> None:
    text = (SOURCE / "base" / "tenants.yaml").read_text(encoding="utf-8")
    assert "concurrent_requests: 64" in text
    tried.tenants.write({"tenants.yaml": text.replace("concurrent_requests: 64", "requests_per_minute: 1")})
    deadline = time.monotonic() + 10
    statuses = []
    while time.monotonic() < deadline and 429 not in statuses:
        statuses.append(tried.ask("-H", f"authorization: Bearer {tried.key}")[0])
    assert 429 in statuses
    tried.tenants.write({"tenants.yaml": text})
    while tried.ask("-H", f"authorization: Bearer {tried.key}")[0] != 200:
        assert time.monotonic() < deadline + 10


def test_it_ends_within_its_grace_period_after_the_answer_that_runs(tried: Tried) -> None:
    """Told to end in the middle of a stream, with the time of `preStop` spent before."""
    body = json.dumps({**ASKED, "max_tokens": 1500, "ignore_eos": True, "stream": True})
    headers = ["-H", "content-type: application/json", "-H", f"authorization: Bearer {tried.key}"]
    url = f"http://{ADDRESS}:{tried.port}/v1/chat/completions"
    enter = ["nsenter", "--target", str(tried.pod._inside), "--net", "curl", "-sN", *headers, "-d", body, url]
    with subprocess.Popen(enter, stdout=subprocess.PIPE, text=True) as stream:
        assert stream.stdout is not None
        assert stream.stdout.readline().startswith("data: ")
        told = time.monotonic()
        tried.pod.terminate()
        time.sleep(0.5)
        assert tried.probe("liveness")
        assert not tried.probe("readiness")
        rest = stream.stdout.read()
    assert rest.rstrip().endswith("data: [DONE]"), rest[-400:]
    spec = tried.template["spec"]
    lead = container(tried.template)["lifecycle"]["preStop"]["sleep"]["seconds"]
    left = spec["terminationGracePeriodSeconds"] - lead
    code = tried.pod.wait(left)
    print(f"ended {time.monotonic() - told:.0f} s after it was told, of {left} s")
    assert code == 0, tried.pod.log
