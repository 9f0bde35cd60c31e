"""`qwend-loadtest`: load for any OpenAI-compatible server, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from loadtest import results, scenario_files, synthetic
from loadtest.compare import compare as compared
from loadtest.compare import table
from loadtest.limit import SHAPES, Point, limit
from loadtest.progress import Progress
from loadtest.report.html import page
from loadtest.run import Server, run, setting
from loadtest.scenario_schema import Scenario
from loadtest.strict import Misfit
from loadtest.summary import summary
from loadtest.sweep import sweep

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
_USAGE = 2


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the user can mend is told in a line or some, not with a traceback."""
    try:
        yield
    except (Misfit, ValueError, OSError) as error:
        typer.echo(f"qwend-loadtest: {error}", err=True)
        raise typer.Exit(_USAGE) from None


def _capacity(given: str | None) -> float | None:
    """A number, or the best rate of a sweep's result."""
    if given is None:
        return None
    with contextlib.suppress(ValueError):
        return float(given)
    found = results.read(Path(given)).get("sweep") or {}
    rate = found.get("slo_rate")
    if rate is None:
        raise Misfit(f"{given} is no sweep that found a rate which meets the objective")
    return float(rate)


@app.command("run")
def run_command(
    scenario: Annotated[str, typer.Argument(help="Name of a scenario of this package, or the path of a YAML file.")],
    base_url: Annotated[str, typer.Option(help="Of the server, with or without /v1.")] = "http://127.0.0.1:8000/v1",
    out: Annotated[Path, typer.Option(help="Folder for NAME.json, NAME.csv and NAME.html.")] = Path("results"),
    name: Annotated[str | None, typer.Option(help="Of the files; by default the scenario's.")] = None,
    capacity: Annotated[
        str | None, typer.Option(help="What rates such as `2x` count from: requests/s, or a sweep's JSON.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="In place of the scenario's, or the server's first.")] = None,
    seed: Annotated[int | None, typer.Option(help="In place of the scenario's.")] = None,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Seconds, in place of the scenario's.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Sending processes; by default by rate.")] = None,
    keys: Annotated[Path | None, typer.Option(help="YAML or JSON file that maps tenants to API keys.")] = None,
    admin_url: Annotated[str | None, typer.Option(help="For events that name `{admin_url}`.")] = None,
    metrics_url: Annotated[str | None, typer.Option(help="By default /metrics beside /v1.")] = None,
    max_lag_ms: Annotated[float | None, typer.Option(min=0.1, help="In place of the scenario's `lag_p99_ms`.")] = None,
    calibrate: Annotated[bool, typer.Option(help="Ask the server first how many tokens our words are.")] = True,
) -> None:
    """Makes the load of a scenario and writes what came of it.

    Ends with 0 when the run is valid and what the scenario asks came true, with 1 when it did not, with 3 when the run
    is not valid, with 2 when it could not begin.
    """
    with _told():
        chosen = _chosen(scenario_files.load(scenario), model, seed, duration, max_lag_ms)
        server = Server(base_url, admin_url, metrics_url, scenario_files.keys(chosen.tenants, keys))
        rate = _capacity(capacity)
        if chosen.needs_capacity and not chosen.sweep and rate is None:
            raise Misfit(f"{chosen.name} counts from the server's capacity: give --capacity, a rate or a sweep's JSON")
        if admin_url is None and any("{admin_url}" in each.post for each in chosen.events):
            raise Misfit(f"{chosen.name} does something to the server: give its --admin-url")
        known = asyncio.run(setting(server, chosen, rate, calibrate=calibrate))
        with Progress(chosen.name, chosen.duration) as progress:
            if chosen.sweep:
                found = sweep(server, chosen, known, workers=workers, shown=progress.show, said=_point)
            else:
                found = results.result(run(server, chosen, known, workers=workers, shown=progress.show), server)
        _write(found, out, name or chosen.name)
    Console().print(summary(found), highlight=False, soft_wrap=True)
    raise typer.Exit(found["exit_code"])


def _chosen(
    scenario: Scenario, model: str | None, seed: int | None, duration: float | None, lag: float | None
) -> Scenario:
    values: dict[str, Any] = {"model": model, "seed": seed, "duration": duration}
    if lag is not None:
        values["gates"] = scenario.gates.with_values(lag_p99_ms=lag)
    changed = scenario.with_values(**{name: value for name, value in values.items() if value is not None})
    if changed.warmup >= changed.duration:
        raise Misfit(f"--duration must be longer than the scenario's warm-up of {changed.warmup:g} s")
    return changed


def _point(point: dict[str, Any]) -> None:
    ttft = f"{point['ttft_p99']:.3f}" if point["ttft_p99"] is not None else "-"
    typer.echo(
        f"{point['rate']:8.2f}/s: through {point['throughput']:.2f}/s, in SLO {point['attainment']:.1%}, "
        f"TTFT p99 {ttft} s, refused {point['refused_share']:.1%}{'' if point['valid'] else ' - NOT VALID'}",
        err=True,
    )


def _write(found: results.Result, folder: Path, name: str) -> None:
    results.write(found, folder / f"{name}.json")
    results.write_csv(found, folder / f"{name}.csv")
    (folder / f"{name}.html").write_text(page(found), encoding="utf-8")
    typer.echo(f"wrote {folder / name}.json, .csv and .html", err=True)


@app.command("report")
def report_command(
    files: Annotated[list[Path], typer.Argument(help="Results, as JSON.")],
) -> None:
    """Writes the HTML report of each result anew, beside it."""
    with _told():
        for file in files:
            file.with_suffix(".html").write_text(page(results.read(file)), encoding="utf-8")


@app.command("compare")
def compare_command(
    a: Annotated[Path, typer.Argument(help="A result, as JSON.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's requests.")] = None,
) -> None:
    """Prints B / A of each figure with its 95 % interval, by bootstrap over requests.

    The interval knows the requests of these two runs, not what another run on another day would bring.
    """
    with _told():
        first, second = results.read(a), results.read(b)
        for path, found in ((a, first), (b, second)):
            if not found["validity"]["valid"]:
                typer.echo(f"{path} is not a valid run: {'; '.join(found['validity']['reasons'])}", err=True)
        typer.echo(table(compared(first, second, tenant)))


@app.command("scenarios")
def scenarios_command() -> None:
    """Lists the scenarios of this package."""
    for name in scenario_files.names():
        typer.echo(f"{name:24s} {scenario_files.load(name).description}")


@app.command("limit")
def limit_command(
    seconds: Annotated[float, typer.Option(min=1, help="Of each rate.")] = 4.0,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Sending processes; by default by rate.")] = None,
) -> None:
    """Finds how much load this machine can make, beside a server that computes nothing and shares the machine.

    Rates grow until the generator calls its own runs invalid three times in a row.
    """
    # As Ctrl-C does, so that the server beside it is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with _told():
        for shape in SHAPES:
            typer.echo(shape.name)
            best = limit(shape, seconds, workers, lambda _, point: typer.echo(f"  {_carried(point)}", err=True))
            typer.echo(f"  carried: {_carried(best)}" if best else "  not even the first rate was carried")


def _carried(point: Point) -> str:
    return (
        f"{point.rate:,.0f} requests/s, {point.tokens:,.0f} tokens/s; late by (p99) {1000 * point.lag_p99:.1f} ms "
        f"sending, {1000 * point.loop_lag_p99:.1f} ms reading; cores: {point.sender_cpu:.2f} of {point.workers} "
        f"sender(s), {point.server_cpu:.2f} of the server{f' - {point.limit}' if point.limit else ''}"
    )


@app.command("synthetic")
def synthetic_command(
    port: Annotated[int, typer.Option(help="On the loopback address; 0 for any.")] = 0,
    ttft: Annotated[float, typer.Option(help="Median seconds to the first token.")] = 0.1,
    sigma: Annotated[float, typer.Option(help="Of the logarithm of that.")] = 0.4,
    itl: Annotated[float, typer.Option(help="Seconds between tokens.")] = 0.01,
    running: Annotated[int | None, typer.Option(help="Refuse beyond so many ...")] = None,
    retry_after: Annotated[float, typer.Option(help="... and tell to come back after so many seconds.")] = 1.0,
    stall_at: Annotated[float | None, typer.Option(help="Stop so long after the first request ...")] = None,
    stall_seconds: Annotated[float, typer.Option(help="... for so long.")] = 0.0,
    log: Annotated[Path | None, typer.Option(help="What was served, as JSON lines, at the end.")] = None,
) -> None:
    """Serves answers whose times are known, to see what this machine's load generator can do."""
    behaviour = synthetic.Behaviour(
        ttft=ttft,
        sigma=sigma,
        itl=itl,
        running=running,
        retry_after=retry_after,
        stall_at=stall_at,
        stall_seconds=stall_seconds,
    )
    synthetic.serve(behaviour, port, log)


def main() -> None:
    """Runs the command line."""
    # A report may hold names that a terminal cannot show.
    if isinstance(sys.stdout.encoding, str) and "utf" not in sys.stdout.encoding.lower():
        os.environ.setdefault("PYTHONIOENCODING", "utf-8")
    app()


if __name__ == "__main__":
    main()
