"""`qwend doctor`: looks at a machine before a start."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

import server
from server.cli_profiles import EXIT_USAGE, load_or_exit
from server.doctor.findings import Level

_COLOURS = {Level.OK: typer.colors.GREEN, Level.WARN: typer.colors.YELLOW, Level.FAIL: typer.colors.RED}


def doctor(
    profile: Annotated[str | None, typer.Option(help="Profile name or file; see `qwend profiles`.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Checkpoint folder or hub id, in place of the profile's model.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port.")] = None,
    admin_port: Annotated[
        int | None, typer.Option(help="TCP port of the admin routes, by default the one after --port.")
    ] = None,
    tenants: Annotated[str | None, typer.Option(help="File of the tenants and their API keys.")] = None,
    node_rank: Annotated[int | None, typer.Option(help="This machine among a profile's nodes.")] = None,
    hash_everything: Annotated[
        bool, typer.Option("--hash", help="Read and hash every file of the weights, however large.")
    ] = False,
    as_machine: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Checks this machine before a start: GPUs, memory, limits, weights, ports, versions. Exit code 1 on any fail."""
    # Not at the top: the other commands need none of it.
    from server.doctor.examination import examine
    from server.doctor.report import as_json, as_text
    from server.doctor.start import start_of

    flags: dict[str, dict[str, Any]] = {
        "model": {"path": model},
        "server": {"host": host, "port": port, "admin_port": admin_port},
        "tenants": {"file": tenants},
        "node": {"rank": node_rank},
    }
    given = {
        section: {key: value for key, value in values.items() if value is not None} for section, values in flags.items()
    }
    # As `qwend serve` chooses it.
    settings = load_or_exit(
        profile or ("generic" if model else "reference-cpu"),
        {section: values for section, values in given.items() if values},
    )
    if settings.node.rank >= settings.hardware.nodes:
        typer.echo(
            f"qwend: --node-rank {node_rank}: the profile's nodes are 0 to {settings.hardware.nodes - 1}", err=True
        )
        raise typer.Exit(EXIT_USAGE)
    start = start_of(settings)
    began = time.monotonic()
    examination = examine(start, hash_everything=hash_everything, progress=_progress())
    seconds = time.monotonic() - began
    if as_machine:
        typer.echo(json.dumps(as_json(examination, start, seconds=seconds, version=server.__version__), indent=2))
    else:
        width = min(shutil.get_terminal_size((100, 24)).columns, 120)
        typer.echo(as_text(examination, start, seconds=seconds, width=width, paint=_painted))
    raise typer.Exit(examination.exit_code)


def _painted(text: str, level: Level | None) -> str:
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        return text
    # typer's echo takes the colours out again where standard output is no terminal.
    return typer.style(text, fg=_COLOURS[level], bold=level is Level.FAIL) if level else typer.style(text, bold=True)


def _progress() -> Callable[[int, int], None]:
    """Tells bytes hashed on a terminal's standard error, a few times a second."""
    shows, told = sys.stderr.isatty(), time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if shows and (now - told > 0.2 or done >= total):
            told = now
            end = "\r" if done < total else "\r\x1b[K"
            print(f"hashing {done / max(total, 1):4.0%} of {total / 1e9:.1f} GB", end=end, file=sys.stderr, flush=True)

    return progress
