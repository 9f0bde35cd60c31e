"""The `qwend` command."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

import server
from server.cli_doctor import doctor
from server.cli_keys import keys_app
from server.cli_plan import plan
from server.cli_profiles import EXIT_USAGE, load_or_exit, profiles_app
from server.launch import check_node, check_supervision
from server.settings import Settings
from server.supervised import is_supervised
from server.telemetry.logs import configure_logs

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=server.__doc__)
app.add_typer(profiles_app, name="profiles")
app.add_typer(keys_app, name="keys")
app.command()(plan)
app.command()(doctor)


@app.command()
def serve(
    profile: Annotated[str | None, typer.Option(help="Profile name or file; see `qwend profiles`.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Checkpoint folder or hub id, in place of the profile's model.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Model name that clients send.")] = None,
    max_model_len: Annotated[int | None, typer.Option(help="Context length in tokens.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port.")] = None,
    admin_port: Annotated[
        int | None, typer.Option(help="TCP port of the admin routes, by default the one after --port.")
    ] = None,
    tenants: Annotated[str | None, typer.Option(help="File of the tenants and their API keys.")] = None,
    keys: Annotated[str | None, typer.Option(help="File of API keys that `qwend keys` writes.")] = None,
    log_format: Annotated[str | None, typer.Option(help="`console` or `json`.")] = None,
    node_rank: Annotated[
        int | None, typer.Option(help="This machine among a profile's nodes; above 0 it runs workers and no API.")
    ] = None,
    master_addr: Annotated[str | None, typer.Option(help="Address of node 0, as the other nodes reach it.")] = None,
    executor: Annotated[str | None, typer.Option(help="`mp`, vLLM's own processes, or `ray`.")] = None,
    supervise: Annotated[
        bool | None, typer.Option("--supervise", help="Start the daemon anew when it dies, on the same port.")
    ] = None,
) -> None:
    """Serves a model. Without options: the embedded reference checkpoint on port 8000."""
    settings = _settings(
        # A model of one's own has nothing to do with the reference checkpoint's profile.
        profile or ("generic" if model else "reference-cpu"),
        {
            "model": {"path": model, "name": name, "max_model_len": max_model_len},
            "server": {"host": host, "port": port, "admin_port": admin_port},
            "tenants": {"file": tenants, "keys_file": keys},
            "log": {"format": log_format},
            "node": {"rank": node_rank, "master_addr": master_addr},
            "engine": {"distributed_executor_backend": executor},
            "supervise": {"on": supervise},
        },
    )
    try:
        check_node(settings)
        check_supervision(settings)
    except ValueError as error:
        typer.echo(f"qwend: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from error
    configure_logs(settings.log.level, settings.log.format)
    if settings.node.rank > 0:
        from server.engine.headless import run_workers

        code = run_workers(settings)
    elif settings.supervise.on and not is_supervised():
        from server.supervisor import run as supervise_daemon

        code = supervise_daemon(settings)
    else:
        from server.daemon import run

        code = run(settings)
    # vLLM leaves threads behind that would hold up, or fail in, the interpreter's own ending.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@app.command()
def version() -> None:
    """Prints the version."""
    typer.echo(server.__version__)


def _settings(profile: str, flags: dict[str, dict[str, Any]]) -> Settings:
    given = {
        section: values
        for section, all_values in flags.items()
        if (values := {key: value for key, value in all_values.items() if value is not None})
    }
    return load_or_exit(profile, given)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
