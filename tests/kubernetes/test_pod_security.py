"""What may run, by the Pod Security Standard and by checkov; and who reaches it."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.manifests import SOURCE, TOOLS, Document, container, daemons, one, pod_templates
from tests.kubernetes.pod_security import violations

Change = Callable[[Document], Any]


def test_every_pod_meets_the_restricted_standard(documents: list[Document]) -> None:
    found = {name: list(violations(template)) for name, template in pod_templates(documents)}
    assert found
    assert not any(found.values()), found


def _with(field: str, value: object) -> Change:
    return lambda template: container(template)["securityContext"].__setitem__(field, value)


BREACHES: dict[str, Change] = {
    "hostNetwork": lambda template: template["spec"].update(hostNetwork=True),
    "volume": lambda template: template["spec"]["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    "sysctl": lambda template: template["spec"]["securityContext"].update(sysctls=[{"name": "kernel.msgmax"}]),
    "AppArmor": lambda template: template["metadata"].update(
        annotations={"container.apparmor.security.beta.kubernetes.io/qwend": "unconfined"}
    ),
    "privileged": _with("privileged", True),
    "procMount": _with("procMount", "Unmasked"),
    "allowPrivilegeEscalation": lambda template: container(template)["securityContext"].pop("allowPrivilegeEscalation"),
    "runAsNonRoot": lambda template: template["spec"]["securityContext"].pop("runAsNonRoot"),
    "runAsUser": _with("runAsUser", 0),
    "seccompProfile": lambda template: template["spec"]["securityContext"].pop("seccompProfile"),
    "appArmorProfile": _with("appArmorProfile", {"type": "Unconfined"}),
    "seLinuxOptions": _with("seLinuxOptions", {"type": "spc_t"}),
    "hostProcess": _with("windowsOptions", {"hostProcess": True}),
    "not dropped": _with("capabilities", {"drop": ["NET_RAW"]}),
    "are added": _with("capabilities", {"drop": ["ALL"], "add": ["SYS_PTRACE"]}),
    "hostPort": lambda template: container(template)["ports"][0].update(hostPort=8000),
    "names a host": lambda template: container(template)["readinessProbe"]["httpGet"].update(host="10.0.0.1"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_of_the_standard_is_found(breach: str, built: dict[str, list[Document]]) -> None:
    (_, template), *_ = daemons(built["8xh200-throughput"])
    template = copy.deepcopy(template)
    assert not list(violations(template))
    BREACHES[breach](template)
    found = list(violations(template))
    assert any(breach in each for each in found), found


def _scan(folder: Path, documents: dict[str, list[Document]]) -> list[tuple[str, str]]:
    """Failed checks: which, and of what. Of kinds that checkov does not know it sees the pods."""
    folder.mkdir()
    for name, each in documents.items():
        pods = [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": part.rpartition("/")[2].lower()}, **template}
            for part, template in pod_templates(each)
            if part.startswith("LeaderWorkerSet")
        ]
        for pod in pods:
            pod["metadata"] = {"name": "node", "namespace": "qwend", **pod["metadata"]}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all([*each, *pods]), encoding="utf-8")
    command = [str(TOOLS / "checkov"), "--config-file", str(SOURCE / "checkov.yaml"), "-d", str(folder), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    told = json.loads(done.stdout)
    assert told["summary"]["passed"] > 100, done.stderr
    assert told["summary"]["parsing_errors"] == 0
    return [(each["check_id"], f"{each['file_path']} {each['resource']}") for each in told["results"]["failed_checks"]]


def test_checkov_finds_nothing(built: dict[str, list[Document]], tmp_path: Path) -> None:
    """The root file system may be written to by nobody but who asks for it by name."""
    scanned = {name: documents for name, documents in built.items() if "writable-root" not in name}
    assert not _scan(tmp_path / "all", scanned)


def test_checkov_would_find_it(built: dict[str, list[Document]], tmp_path: Path) -> None:
    documents = copy.deepcopy(built["2x8xh100"])
    (_, leader), (_, worker) = daemons(documents)
    container(leader)["securityContext"]["privileged"] = True
    del container(worker)["resources"]["limits"]["memory"]
    found = {check for check, _ in _scan(tmp_path / "bad", {"bad": documents})}
    assert {"CKV_K8S_16", "CKV_K8S_13"} <= found


def test_nobody_but_the_pod_itself_reaches_the_admin_port(documents: list[Document]) -> None:
    """It listens on the loopback address, no Service or container names it, and no policy opens it."""
    for _, template in daemons(documents):
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == "api":
            args = container(template)["args"]
            assert "--admin-port" not in " ".join(args)
            assert not [name for name in map(str, container(template)["env"]) if "ADMIN" in name]
            assert [port["name"] for port in container(template)["ports"]] == ["http"]
    for document in documents:
        if document["kind"] == "Service" and document["metadata"]["name"].startswith("qwend"):
            assert all(port["targetPort"] in ("http", "grpc") for port in document["spec"]["ports"])
    policy = one(documents, "NetworkPolicy", "qwend")["spec"]
    assert policy["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "qwend"}}
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["http"]
    others = [
        document
        for document in documents
        if document["kind"] == "NetworkPolicy"
        and document["spec"]["podSelector"] == policy["podSelector"]
        and "ingress" in document["spec"]
        and document["metadata"]["name"] != "qwend"
    ]
    for other in others:  # the nodes of one model among themselves
        assert other["metadata"]["name"] == "qwend-nodes"
        assert other["spec"]["ingress"] == [{"from": [{"podSelector": policy["podSelector"]}]}]


def test_no_secret_is_in_the_manifests(documents: list[Document]) -> None:
    assert not [document for document in documents if document["kind"] == "Secret"]
    for name, template in pod_templates(documents):
        spec = template["spec"]
        if name.startswith("Deployment/"):  # these watch pods, with a role that lets them do nothing else
            continue
        assert spec["automountServiceAccountToken"] is False
        account = one(documents, "ServiceAccount", spec["serviceAccountName"])
        assert account["automountServiceAccountToken"] is False


def test_roles_let_nothing_be_changed(documents: list[Document]) -> None:
    for document in documents:
        assert document["kind"] not in ("ClusterRole", "ClusterRoleBinding")
        if document["kind"] == "Role":
            assert {verb for rule in document["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
            assert not {"secrets", "configmaps", "*"} & {
                name for rule in document["rules"] for name in rule["resources"]
            }
