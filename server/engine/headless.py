"""The nodes of a profile that serve no API: they run vLLM's workers and take their orders from node 0."""

from __future__ import annotations

from argparse import Namespace

from server.engine.arguments import apply_environment, engine_arguments
from server.engine.child_processes import prepare_children
from server.engine.nested_configs import with_configs
from server.engine.torchvision_ops import ensure
from server.settings import Settings
from server.telemetry.logs import get_logger

_log = get_logger("workers")


EXIT_OK = 0
EXIT_ENGINE = 1


def run_workers(settings: Settings) -> int:
    """Runs this node's workers until a signal ends them or one dies; returns the process's exit code.

    vLLM's own entry, what `vllm serve --headless` runs, given the same arguments as node 0's engine.
    """
    apply_environment(settings)
    prepare_children()
    ensure()
    from vllm.entrypoints.cli.serve import run_headless

    node = settings.node
    _log.info("working for node 0", node=node.rank, nodes=settings.hardware.nodes, master=node.master_addr)
    try:
        # It reads from a parsed command line, by name, what AsyncEngineArgs has, and these two.
        arguments = with_configs(engine_arguments(settings))
        run_headless(Namespace(**arguments, api_server_count=0, reasoning_parser_plugin=None))
    except SystemExit:  # how its signal handler ends it
        return EXIT_OK
    except Exception as error:  # noqa: BLE001 - whatever it was, the process must end and say it
        _log.error("the workers did not start", why=f"{type(error).__name__}: {error}")
        return EXIT_ENGINE
    _log.error("a worker died", node=node.rank)
    return EXIT_ENGINE
