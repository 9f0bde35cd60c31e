"""From the daemon's settings to vLLM's engine arguments and environment, each with its reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

from server.engine.media_connector import NAME
from server.settings import EMBEDDED, Settings

UNEXPLAINED = "the profile gives no reason"


@dataclass(frozen=True)
class Explained:
    """One argument of vLLM's AsyncEngineArgs, or one environment variable, and why it is so."""

    name: str
    value: Any
    reason: str


def engine_arguments(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for AsyncEngineArgs. What the profile's `engine` section says wins over what we derive."""
    return {argument.name: argument.value for argument in explained_arguments(settings)}


def explained_arguments(settings: Settings) -> list[Explained]:
    """The engine arguments with their reasons: first what is derived from other settings, then the profile's own."""
    arguments = {argument.name: argument for argument in _derived(settings)}
    for name, value in settings.engine.items():
        arguments[name] = Explained(name, value, settings.reasons.get(name, UNEXPLAINED))
    return [argument for argument in arguments.values() if argument.value is not None]


def _derived(settings: Settings) -> Iterator[Explained]:
    limits, hardware, node = settings.limits, settings.hardware, settings.node
    yield Explained("model", model_path(settings.model.path), "The profile's `model.path`.")
    yield Explained("served_model_name", settings.model.served_name, "The profile's `model.name`.")
    yield Explained("max_model_len", settings.model.max_model_len, "The profile's `model.max_model_len`.")
    yield Explained(
        "limit_mm_per_prompt",
        {"image": limits.images, "video": limits.videos},
        "`limits.images` and `limits.videos`: more is refused before it gets here; vLLM's own default is 999.",
    )
    yield Explained("use_tqdm_on_load", False, "The start's phases are in our own log.")
    yield Explained(
        "shutdown_timeout",
        int(settings.server.lame_duck_seconds + settings.server.drain_seconds) + 5,
        "Ctrl-C reaches the whole process group; it must not abort what is drained for `server.drain_seconds`.",
    )
    yield Explained(
        "enable_logging_iteration_details",
        True,
        "Each step tells what it computed; admission learns the engine's speed from it.",
    )
    yield Explained(
        "renderer_num_workers", 2, "Tokenising and template rendering run in these threads, never on the event loop."
    )
    yield Explained(
        "structured_outputs_config",
        {"backend": "xgrammar", "disable_any_whitespace": True},
        "Where JSON allows any whitespace, a model that finds no next word writes newlines to the end of its tokens.",
    )
    yield Explained(
        "otlp_traces_endpoint",
        settings.telemetry.traces_endpoint,
        "`telemetry.traces_endpoint`: the engine's spans go where the requests' go.",
    )
    if hardware.nodes > 1 and settings.engine.get("distributed_executor_backend") != "ray":
        yield Explained("nnodes", hardware.nodes, "The profile's `hardware.nodes`.")
        yield Explained("node_rank", node.rank, "`--node-rank`: node 0 serves the API, the others run its workers.")
        yield Explained("master_addr", node.master_addr, "`--master-addr`: where the other nodes find node 0.")
        yield Explained("master_port", node.master_port, "The port of node 0 for torch; vLLM's own by default.")


def model_path(path: str) -> str:
    """The checkpoint's folder or hub id, with the embedded checkpoint found inside the package."""
    if path != EMBEDDED:
        return path
    return str(resources.files("server.reference") / "checkpoint")


def engine_environment(settings: Settings) -> dict[str, str]:
    """Environment for this process and the engine's, to be set before vllm is imported."""
    return {variable.name: variable.value for variable in explained_environment(settings)}


def explained_environment(settings: Settings) -> list[Explained]:
    """The environment with its reasons: what every engine gets, then the profile's own."""
    ours = [
        Explained("VLLM_NO_USAGE_STATS", "1", "Nothing is told to vLLM's makers about what is served."),
        Explained(
            "VLLM_WORKER_MULTIPROC_METHOD",
            "spawn",
            "The engine core is a fresh interpreter: a fork of a process with threads can deadlock.",
        ),
        Explained("VLLM_LOGGING_LEVEL", settings.log.engine_level.upper(), "`log.engine_level`."),
        Explained("TRANSFORMERS_VERBOSITY", settings.log.engine_level, "`log.engine_level`."),
        Explained("PYTHONWARNINGS", "ignore::FutureWarning", "The libraries' calls of each other are not ours."),
    ]
    if settings.telemetry.traces_endpoint is not None:
        ours.append(Explained("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf", "vLLM would send by gRPC."))
    variables = {variable.name: variable for variable in ours}
    for name, value in settings.engine_environment.items():
        variables[name] = Explained(name, value, settings.reasons.get(name, UNEXPLAINED))
    return list(variables.values())


def apply_environment(settings: Settings) -> None:
    """Sets what `engine_environment` says; a variable that the operator has set already is left alone."""
    for name, value in engine_environment(settings).items():
        os.environ.setdefault(name, value)
    # Not for the operator to change: vLLM's own would fetch whatever address it is shown.
    os.environ["VLLM_MEDIA_CONNECTOR"] = NAME
