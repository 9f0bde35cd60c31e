"""What autoscalers ask of Prometheus, evaluated by promtool on the series of two replicas."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.telemetry import admission_metrics
from tests.kubernetes.manifests import SOURCE, WITH_HPA, WITH_KEDA, Document, one
from tests.telemetry.prometheus_server import needed

BACKLOG, USED, LIMIT = (
    metric._name for metric in (admission_metrics.BACKLOG, admission_metrics.USED, admission_metrics.LIMIT)
)


def _series(pod: str, backlog: int, used: int) -> dict[str, int]:
    where = f'namespace="qwend", job="qwend", pod="{pod}"'
    return {
        f"{BACKLOG}{{{where}}}": backlog,
        f'{USED}{{{where}, resource="kv_tokens"}}': used,
        f'{LIMIT}{{{where}, resource="kv_tokens"}}': 100,
        f'{USED}{{{where}, resource="sequences"}}': 1000,
        f'{LIMIT}{{{where}, resource="sequences"}}': 1,
    }


SERIES = _series("qwend-0", 3, 70) | _series("qwend-1", 9, 90)
# Another overlay's, in another namespace.
OTHERS = {name.replace('namespace="qwend"', 'namespace="other"'): 1_000_000 for name in SERIES}


def _asked(tmp_path: Path, query: str, samples: list[dict[str, Any]]) -> None:
    test = {
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": str(value)} for name, value in (SERIES | OTHERS).items()],
                "promql_expr_test": [{"expr": query, "eval_time": "0m", "exp_samples": samples}],
            }
        ]
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(test), encoding="utf-8")
    command = [needed("promtool"), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_keda_gets_the_sum_of_the_backlogs_and_the_part_that_is_taken(
    built: dict[str, list[Document]], tmp_path: Path
) -> None:
    scaled = one(built[str(WITH_KEDA)], "ScaledObject", "qwend")
    assert scaled["metadata"]["namespace"] == "qwend"
    backlog, taken = (trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"])
    _asked(tmp_path, backlog, [{"labels": "{}", "value": 12}])
    _asked(tmp_path, taken, [{"labels": "{}", "value": 0.8}])
    with pytest.raises(AssertionError):
        _asked(tmp_path, backlog, [{"labels": "{}", "value": 3}])


def test_the_adapter_gives_each_pod_its_own(built: dict[str, list[Document]], tmp_path: Path) -> None:
    values = SOURCE / "components" / "autoscale-hpa" / "prometheus-adapter-values.yaml"
    rules = yaml.safe_load(values.read_text(encoding="utf-8"))["rules"]["custom"]
    scaler = one(built[str(WITH_HPA)], "HorizontalPodAutoscaler", "qwend")["spec"]
    assert [each["pods"]["metric"]["name"] for each in scaler["metrics"]] == [rule["name"]["as"] for rule in rules]
    for rule, wanted in zip(rules, ((3, 9), (0.7, 0.9)), strict=True):
        query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'namespace="qwend"')
        query = query.replace("<<.Series>>", rule["seriesQuery"].partition("{")[0])
        samples = [{"labels": f'{{pod="qwend-{number}"}}', "value": value} for number, value in enumerate(wanted)]
        _asked(tmp_path, query, samples)
