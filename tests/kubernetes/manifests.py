"""Kustomize's output, and what is in it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "deploy" / "kubernetes"
TOOLS = ROOT / ".kubernetes" / "bin"

Document = dict[str, Any]

OVERLAYS = sorted(path.name for path in (SOURCE / "overlays").iterdir())


@dataclass(frozen=True)
class Variant:
    """An overlay with other weights than its own, or with more components."""

    overlay: str
    weights: str | None = None
    more: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "+".join([self.overlay, *filter(None, [self.weights]), *self.more])


WITH_HPA = Variant("8xh200-throughput", "weights-image", ("monitoring", "autoscale-hpa", "quotas-redis"))
WITH_KEDA = Variant("8xh200-throughput", "weights-stream", ("monitoring", "autoscale-keda"))

# Each overlay as it is, and every component at least once on each kind of workload that it is for.
VARIANTS = (
    *(Variant(overlay) for overlay in OVERLAYS),
    Variant("reference-cpu", None, ("monitoring", "autoscale-keda", "quotas-redis")),
    WITH_HPA,
    WITH_KEDA,
    Variant("2x8xh100", "weights-image", ("monitoring", "quotas-redis")),
    Variant("2x8xh100-ray", "weights-stream", ("quotas-redis",)),
    Variant("8xh200-latency", None, ("writable-root",)),
    Variant("2x8xh100", None, ("writable-root",)),
)


def build(variant: Variant, folder: Path) -> list[Document]:
    """The documents that `kubectl kustomize` makes of a variant, in a copy of the manifests in `folder`."""
    copy = folder / str(variant)
    shutil.copytree(SOURCE, copy)
    overlay = copy / "overlays" / variant.overlay
    file = overlay / "kustomization.yaml"
    text = file.read_text(encoding="utf-8")
    if variant.weights:
        assert text.count("../components/weights-pvc") == 1
        text = text.replace("../components/weights-pvc", f"../components/{variant.weights}")
    wanted = yaml.safe_load(text)
    wanted["components"] = [*(wanted.get("components") or []), *(f"../../components/{name}" for name in variant.more)]
    file.write_text(yaml.safe_dump(wanted), encoding="utf-8")
    return kustomize(overlay)


def kustomize(folder: Path) -> list[Document]:
    """The documents that `kubectl kustomize` makes of a folder, without a warning."""
    command = [str(TOOLS / "kubectl"), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pod_templates(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Every template of pods, with a name for messages: of built-in kinds and of LeaderWorkerSets."""
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] in ("StatefulSet", "Deployment", "Job"):
            yield name, document["spec"]["template"]
        elif document["kind"] == "LeaderWorkerSet":
            for which in ("leaderTemplate", "workerTemplate"):
                yield f"{name}/{which}", document["spec"]["leaderWorkerTemplate"][which]


def daemons(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """The templates of pods that run the daemon."""
    for name, template in pod_templates(documents):
        if template["metadata"]["labels"]["app.kubernetes.io/name"] == "qwend":
            yield name, template


def one(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = [each for each in documents if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def container(template: Document) -> Document:
    (found,) = template["spec"]["containers"]
    return found


def environment(template: Document) -> dict[str, str]:
    """Variables with a value of their own."""
    return {each["name"]: each["value"] for each in container(template).get("env", []) if "value" in each}
