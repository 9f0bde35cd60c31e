"""From the daemon's settings to vLLM's engine arguments."""

from __future__ import annotations

import os
from importlib import resources
from typing import Any

from server.engine.media_connector import NAME
from server.settings import EMBEDDED, Settings


def engine_arguments(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for AsyncEngineArgs. What the profile's `engine` section says wins over what we derive."""
    derived: dict[str, Any] = {
        "model": model_path(settings.model.path),
        "served_model_name": settings.model.served_name,
        "max_model_len": settings.model.max_model_len,
        # More than a request may bring is refused before it gets here; vLLM's own default is 999.
        "limit_mm_per_prompt": {"image": settings.limits.images, "video": settings.limits.videos},
        # The start's phases are in our own log.
        "use_tqdm_on_load": False,
        # A signal to the whole process group (Ctrl-C) must not abort what the daemon is draining.
        "shutdown_timeout": int(settings.server.drain_seconds) + 5,
        # Each step tells what it computed; admission learns the engine's speed from it.
        "enable_logging_iteration_details": True,
        # Tokenising and template rendering run in these threads, never on the event loop.
        "renderer_num_workers": 2,
        # Where JSON allows any whitespace, a model that finds no next word writes newlines to the end of its tokens.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    return {name: value for name, value in {**derived, **settings.engine}.items() if value is not None}


def model_path(path: str) -> str:
    """The checkpoint's folder or hub id, with the embedded checkpoint found inside the package."""
    if path != EMBEDDED:
        return path
    return str(resources.files("server.reference") / "checkpoint")


def engine_environment(settings: Settings) -> dict[str, str]:
    """Environment for this process and the engine's, to be set before vllm is imported."""
    return {
        "VLLM_NO_USAGE_STATS": "1",
        # The engine core is a fresh interpreter: a fork of a process with threads can deadlock.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_LOGGING_LEVEL": settings.log.engine_level.upper(),
        "TRANSFORMERS_VERBOSITY": settings.log.engine_level,
        # Of the libraries' own calls to each other, in the engine's processes.
        "PYTHONWARNINGS": "ignore::FutureWarning",
        **settings.engine_environment,
    }


def apply_environment(settings: Settings) -> None:
    """Sets what `engine_environment` says; a variable that the operator has set already is left alone."""
    for name, value in engine_environment(settings).items():
        os.environ.setdefault(name, value)
    # Not for the operator to change: vLLM's own would fetch whatever address it is shown.
    os.environ["VLLM_MEDIA_CONNECTOR"] = NAME
