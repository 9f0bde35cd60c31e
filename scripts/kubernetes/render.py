"""deploy/kubernetes as text: templates filled in with the figures of profiles."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
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

MADE = "# Made by `make kubernetes` from {source}: change those, not this.\n"


@dataclass(frozen=True)
class Overlay:
    """One way to serve a profile, given by its name, or by a file that is mounted."""

    name: str
    profile: str
    executor: str = "mp"

    @property
    def is_file(self) -> bool:
        """Whether the profile is not in the image."""
        return self.profile.endswith((".yaml", ".yml"))

    def figures(self) -> Figures:
        """What its manifests say."""
        return figures(self.profile, self.executor, numbers.PROFILE_FILE if self.is_file else None)


OVERLAYS = (
    Overlay("reference-cpu", "reference-cpu"),
    Overlay("8xh200-throughput", "qwen3.5-397b-8xh200-fp8"),
    Overlay("8xh200-latency", "qwen3.5-397b-8xh200-fp8-latency"),
    Overlay("2x8xh100", "qwen3.5-397b-2x8xh100-bf16"),
    Overlay("2x8xh100-ray", "qwen3.5-397b-2x8xh100-bf16", "ray"),
)

FLEET_OF = "8xh200-throughput"
"""The overlay that both fleets have replicas of."""


def render() -> dict[Path, str]:
    """Every generated file, by its path below deploy/kubernetes."""
    known = {overlay.name: overlay.figures() for overlay in OVERLAYS}
    shared = {"fleet": known[FLEET_OF], "fleet_of": FLEET_OF, "slowest": _slowest(list(known.values()))}
    files: dict[Path, str] = {}
    for folder in ("base", "components", "fleet"):
        for template in sorted((TEMPLATES / folder).rglob("*.yaml")):
            name = template.relative_to(TEMPLATES)
            target = Path("overlays") / name.relative_to("fleet") if folder == "fleet" else name
            files[target] = _text(name, f"scripts/kubernetes/templates/{name}", **shared)
    for overlay in OVERLAYS:
        files |= render_overlay(overlay, known[overlay.name])
    return files


def render_overlay(overlay: Overlay, of: Figures) -> dict[Path, str]:
    """The files of one overlay."""
    source = f"the profile {Path(overlay.profile).name} and scripts/kubernetes/templates/overlays"
    workload = "leaderworkerset.yaml" if of.nodes > 1 else "statefulset.yaml"
    folder = Path("overlays") / overlay.name
    return {
        folder / target: _text(Path("overlays") / template, source, overlay=overlay, of=of)
        for target, template in (("kustomization.yaml", "kustomization.yaml"), ("workload.yaml", workload))
    }


def _text(template: Path, source: str, **values: Any) -> str:
    return MADE.format(source=source) + _environment().get_template(str(template)).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["quoted"] = _quoted
    environment.globals.update(_common())
    return environment


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
    text = yaml.dump({"groups": groups}, Dumper=_Blocks, sort_keys=False, width=1000, allow_unicode=True)
    return "\n".join(f"  {line}" if line else "" for line in text.splitlines())


class _Blocks(yaml.SafeDumper):
    """Writes texts of several lines as such."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        """As a block, where there are several lines."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _Blocks.represent_str)


def _slowest(known: list[Figures]) -> dict[str, int]:
    """The largest of each number, for what is set once for all overlays."""
    names = [field.name for field in fields(Figures) if isinstance(getattr(known[0], field.name), int)]
    return {name: max(getattr(each, name) for each in known) for name in names}


def _quoted(value: object) -> str:
    """A YAML scalar that is a string, whatever is in it."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
