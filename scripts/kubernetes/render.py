"""deploy/kubernetes as text: templates filled in with the figures of profiles."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import server
from scripts.kubernetes import figures as numbers
from scripts.kubernetes.figures import Figures, figures
from server.settings import Settings

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "deploy" / "kubernetes"
TEMPLATES = Path(__file__).parent / "templates"
RULES = ROOT / "deploy" / "prometheus"

MADE = "# Made by `make kubernetes` from {source}; a test compares. Change those, not this file.\n"


@dataclass(frozen=True)
class Overlay:
    """One way to serve a profile. `workload` is the template of what runs it."""

    name: str
    profile: str
    workload: str
    executor: str = "mp"


OVERLAYS = (
    Overlay("reference-cpu", "reference-cpu", "statefulset.yaml"),
    Overlay("8xh200-throughput", "qwen3.5-397b-8xh200-fp8", "statefulset.yaml"),
    Overlay("8xh200-latency", "qwen3.5-397b-8xh200-fp8-latency", "statefulset.yaml"),
    Overlay("2x8xh100", "qwen3.5-397b-2x8xh100-bf16", "leaderworkerset.yaml"),
    Overlay("2x8xh100-ray", "qwen3.5-397b-2x8xh100-bf16", "leaderworkerset.yaml", "ray"),
)

FLEET_OF = "8xh200-throughput"
"""The overlay that both fleets have replicas of."""


def render() -> dict[Path, str]:
    """Every generated file, by its path below deploy/kubernetes."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["quoted"] = _quoted
    common = _common()
    known = {overlay.name: figures(overlay.profile, overlay.executor) for overlay in OVERLAYS}
    files: dict[Path, str] = {}

    def write(path: str, template: str, source: str, **values: Any) -> None:
        text = environment.get_template(template).render({**common, **values})
        files[Path(path)] = MADE.format(source=source) + text

    for folder in ("base", "components", "fleet"):
        for template in sorted((TEMPLATES / folder).rglob("*.yaml")):
            name = template.relative_to(TEMPLATES)
            target = name if folder != "fleet" else Path("overlays") / name.relative_to("fleet")
            values = {"fleet": known[FLEET_OF], "slowest": _slowest(list(known.values())), "fleet_of": FLEET_OF}
            write(str(target), str(name), f"scripts/kubernetes/templates/{name}", **values)
    for overlay in OVERLAYS:
        of = known[overlay.name]
        source = f"the profile {overlay.profile} and scripts/kubernetes/templates/overlays"
        for target, template in (("kustomization.yaml", "kustomization.yaml"), ("workload.yaml", overlay.workload)):
            write(
                f"overlays/{overlay.name}/{target}",
                f"overlays/{template}",
                source,
                overlay=overlay,
                of=of,
            )
    return files


def _common() -> dict[str, Any]:
    """What every template may use."""
    settings = Settings()
    version = server.__version__
    constants = {name.lower(): getattr(numbers, name) for name in dir(numbers) if name.isupper()}
    objectives = settings.admission.classes
    return constants | {
        "version": version,
        "image": "ghcr.io/qwend/qwend",
        "port": settings.server.port,
        "ttft_interactive": objectives.interactive.ttft_seconds,
        "prometheus_groups": _prometheus_groups(),
    }


def _prometheus_groups() -> str:
    """The groups of the rules that a Prometheus without an operator reads, put below `spec:`."""
    groups: list[Any] = []
    for name in ("recording.yaml", "alerts.yaml"):
        groups += yaml.safe_load((RULES / name).read_text(encoding="utf-8"))["groups"]
    text = yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000, allow_unicode=True)
    return "\n".join(f"  {line}" if line else "" for line in text.splitlines())


def _slowest(known: list[Figures]) -> dict[str, int]:
    """The largest of each number, for what is set once for all overlays."""
    names = [field.name for field in fields(Figures) if isinstance(getattr(known[0], field.name), int)]
    return {name: max(getattr(each, name) for each in known) for name in names}


def _quoted(value: object) -> str:
    """A YAML scalar that is a string, whatever is in it."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
