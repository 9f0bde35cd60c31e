"""Every document against its kind's schema: Kubernetes' own by kubernetes-validate, others by models or by our own."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.kubernetes.manifests import TOOLS, WITH_KEDA, Document, one, pod_templates

# The oldest that docs/kubernetes.md names, and the newest there is.
KUBERNETES = ("1.31", "1.37")
SCHEMAS = Path(__file__).parent / "schemas"
MODELS = Path(__file__).parent / "crd_models.py"

# By group, the word before a version: what is the cluster's own.
_OWN = ("", "apps", "batch", "autoscaling", "policy", "networking.k8s.io", "rbac.authorization.k8s.io")


def _group(document: Document) -> str:
    return str(document["apiVersion"]).rpartition("/")[0]


def _own_wrong(documents: Iterable[Document], version: str, file: Path) -> str:
    """What kubernetes-validate says; nothing where all is well."""
    file.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    command = [str(TOOLS / "kubernetes-validate"), "-k", version, "--strict", "--quiet", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return "" if done.returncode == 0 else (done.stdout + done.stderr or "refused")


@pytest.fixture(scope="module")
def schemas(tools: None) -> dict[str, Any]:
    """Of custom kinds, by `apiVersion/kind`: models' of their makers' definitions, and our own of what is used."""
    done = subprocess.run(
        [str(TOOLS / "python"), str(MODELS)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    for file in SCHEMAS.glob("*.yaml"):
        schema = yaml.safe_load(file.read_text(encoding="utf-8"))
        fields = schema["properties"]
        found[f"{fields['apiVersion']['const']}/{fields['kind']['const']}"] = schema
    return found


def _custom_wrong(document: Document, schemas: dict[str, Any]) -> list[str]:
    schema = schemas[f"{document['apiVersion']}/{document['kind']}"]
    errors = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return [f"{document['kind']}: {error.json_path}: {error.message[:200]}" for error in errors]


def _as_pods(documents: list[Document]) -> list[Document]:
    """The pods of kinds that Kubernetes does not know."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "name": "node"},
            "spec": template["spec"],
        }
        for name, template in pod_templates(documents)
        if name.startswith("LeaderWorkerSet")
    ]


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(version: str, built: dict[str, list[Document]], tmp_path: Path) -> None:
    every = [document for documents in built.values() for document in [*documents, *_as_pods(documents)]]
    own = {
        json.dumps(document): document for document in every if _group(document) in _OWN
    }  # most are there many times
    assert {"StatefulSet", "Deployment", "Job", "Pod", "HorizontalPodAutoscaler"} < {
        each["kind"] for each in own.values()
    }
    assert not _own_wrong(own.values(), version, tmp_path / "all.yaml")


def test_custom_kinds_have_the_fields_of_their_schemas(
    built: dict[str, list[Document]], schemas: dict[str, Any]
) -> None:
    custom = [document for documents in built.values() for document in documents if _group(document) not in _OWN]
    assert {f"{document['apiVersion']}/{document['kind']}" for document in custom} == schemas.keys()
    assert not [wrong for document in custom for wrong in _custom_wrong(document, schemas)]


def _set(document: Document, path: str, value: Any) -> Document:
    changed = copy.deepcopy(document)
    at: Any = changed
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in way:
        at = at[part]
    at[last] = value
    return changed


@pytest.mark.parametrize(
    ("variant", "kind", "name", "path", "value"),
    [
        ("8xh200-throughput", "StatefulSet", "qwend", "spec.template.spec.containers.0.livenesProbe", {}),
        ("8xh200-throughput", "StatefulSet", "qwend", "spec.template.spec.terminationGracePeriodSeconds", "330"),
        ("8xh200-throughput", "PodDisruptionBudget", "qwend", "spec.maxUnavailble", 1),
        ("2x8xh100", "LeaderWorkerSet", "qwend-nodes", "spec.leaderWorkerTemplate.restartPolicy", "Always"),
        ("2x8xh100", "LeaderWorkerSet", "qwend-nodes", "spec.leaderWorkerTemplate.workers", 1),
        (
            "2x8xh100",
            "LeaderWorkerSet",
            "qwend-nodes",
            "spec.leaderWorkerTemplate.workerTemplate.spec.containers.0.lifecycle",
            {"preStop": {"wait": 3}},
        ),
        ("fleet-inference-gateway", "InferencePool", "qwend", "spec.extensionRef", {"name": "qwend-picker"}),
        ("fleet-inference-gateway", "HTTPRoute", "qwend", "spec.rules.0.timeouts.request", "forever"),
        ("fleet-inference-gateway", "Gateway", "qwend", "spec.listeners.0.protocol", "HTTP2"),
        (str(WITH_KEDA), "ScaledObject", "qwend", "spec.pollingIntervall", 15),
        (str(WITH_KEDA), "ScaledObject", "qwend", "spec.triggers.0.type", 3),
        (str(WITH_KEDA), "PodMonitor", "qwend", "spec.endpoints", []),
        (str(WITH_KEDA), "PrometheusRule", "qwend", "spec.groups.0.rules.0.expression", "1"),
    ],
)
def test_a_wrong_field_is_found(
    variant: str,
    kind: str,
    name: str,
    path: str,
    value: Any,
    built: dict[str, list[Document]],
    schemas: dict[str, Any],
    tmp_path: Path,
) -> None:
    changed = _set(one(built[variant], kind, name), path, value)
    if _group(changed) in _OWN:
        wrong: Any = _own_wrong([changed], KUBERNETES[-1], tmp_path / "one.yaml")
    else:
        wrong = _custom_wrong(changed, schemas)
        if pods := _as_pods([changed]):
            wrong += filter(None, [_own_wrong(pods, KUBERNETES[-1], tmp_path / "pods.yaml")])
    assert wrong
