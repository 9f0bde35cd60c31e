"""What is known of a start before it costs anything. Only what is certain to fail keeps the engine from being tried.

`qwend doctor` tells more, warnings too; this uses its words, and for what does not fit those of `qwend plan`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from server.doctor.findings import Finding, Level
from server.doctor.gathering.gpus import gather_gpus
from server.doctor.gathering.machine import gather_memory
from server.doctor.gathering.snapshot import read_snapshot
from server.doctor.memory import check_memory
from server.doctor.start import model_location, start_of
from server.doctor.weights import check_weights
from server.embedding_shape import wrong_embedding
from server.planning.deployment import BadDeployment
from server.planning.from_profile import deployment_of
from server.planning.hardware import UnknownHardware
from server.planning.model_config import ModelNotFound
from server.planning.model_shapes import NotQwen35, model_shapes
from server.planning.plan import Problem, certain_problems
from server.settings import Settings


class CannotStart(Exception):
    """A start that cannot succeed; the message says why, and what to do."""


def preflight(settings: Settings) -> None:
    """Raises CannotStart. Takes well under a second: it reads headers and counts, and imports no vllm."""
    for trouble in _troubles(settings):
        raise CannotStart(trouble)


def _troubles(settings: Settings) -> Iterator[str]:
    start = start_of(settings)
    location = model_location(start)
    folder = Path(location)
    weights = 0
    if folder.is_dir():
        snapshot = read_snapshot(folder)
        weights = snapshot.weight_bytes
        # Another loader may need no files, such as one that makes weights up.
        if settings.engine.get("load_format", "auto") in ("auto", "safetensors"):
            yield from _failed(check_weights(snapshot, start.model, can_download=False))
            yield from wrong_embedding(folder)
    elif folder.is_absolute():
        yield f"there is no folder {folder}"
    if settings.hardware.gpu is None and not gather_gpus(start.environment).gpus:
        yield from _failed(check_memory(gather_memory(), start, 0, weights))
    yield from _does_not_fit(settings)


def _failed(finding: Finding) -> Iterator[str]:
    if finding.level is Level.FAIL:
        yield f"{finding.what}: {finding.todo}"


def _does_not_fit(settings: Settings) -> Iterator[str]:
    """What `qwend plan` is sure of. What it estimates (activations, CUDA graphs) keeps nothing from being tried."""
    try:
        deployment = deployment_of(settings)
        shapes = model_shapes(deployment.model)
    except (BadDeployment, UnknownHardware, ModelNotFound, NotQwen35):
        return  # what the planner does not know is vLLM's to judge
    try:
        problems = certain_problems(deployment, shapes)
    except BadDeployment as error:
        problems = [Problem("division", str(error))]
    for problem in problems:
        # Both say that the operator knows better.
        if problem.kind == "context" and environment_flag("VLLM_ALLOW_LONG_MAX_MODEL_LEN", settings):
            continue
        if problem.kind == "memory" and settings.engine.get("cpu_offload_gb"):
            continue
        where = f"{deployment.model_name} does not fit {deployment.hardware.name}"
        yield f"{where} as profile {settings.profile} has it: {problem.reason} (`qwend plan` tells what would)"


def environment_flag(name: str, settings: Settings) -> bool:
    """Whether vLLM will find the variable set to 1."""
    return os.environ.get(name, settings.engine_environment.get(name)) == "1"
