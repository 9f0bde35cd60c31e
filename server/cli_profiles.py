"""`qwend profiles`: what ships, what a profile comes to, and how each of its nodes is started."""

from __future__ import annotations

import json
import textwrap
from typing import Annotated, Any

import typer

from server.engine.arguments import Explained, explained_arguments, explained_environment
from server.launch import NodeCommands, launch_commands
from server.profile_files import ProfileError, profiles
from server.settings import Settings, load

profiles_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

EXIT_USAGE = 2
_WIDTH = 110


@profiles_app.callback(invoke_without_command=True)
def list_profiles(context: typer.Context) -> None:
    """Lists the profiles that `qwend serve --profile` knows; see `show` and `launch` for one of them."""
    if context.invoked_subcommand is not None:
        return
    known = sorted(profiles())
    width = max(map(len, known), default=0)
    for name in known:
        typer.echo(f"{name:{width}}  {load_or_exit(name).description}")


@profiles_app.command()
def show(
    name: Annotated[str, typer.Argument(help="Profile name or file.")],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Prints the settings of a profile and the exact engine arguments with the reason of each."""
    settings = load_or_exit(name)
    arguments, environment = explained_arguments(settings), explained_environment(settings)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "profile": settings.profile,
                    "description": settings.description,
                    "settings": _plain(settings),
                    "engine_arguments": [vars(argument) for argument in arguments],
                    "engine_environment": [vars(variable) for variable in environment],
                },
                indent=2,
                default=str,
            )
        )
        return
    typer.echo(f"{settings.profile}: {settings.description}\n\nsettings")
    for path, value in _leaves(_plain(settings)):
        typer.echo(f"  {path} = {json.dumps(value, default=str)}")
    typer.echo("\nengine arguments, as AsyncEngineArgs gets them")
    _print_explained(arguments)
    typer.echo("\nenvironment of the engine")
    _print_explained(environment)


@profiles_app.command()
def launch(
    name: Annotated[str, typer.Argument(help="Profile name or file.")],
    node_rank: Annotated[int | None, typer.Option(help="Only this node's commands; 0 serves the API.")] = None,
    master_addr: Annotated[str | None, typer.Option(help="Address of node 0, as the other nodes reach it.")] = None,
    executor: Annotated[str, typer.Option(help="`mp`, vLLM's own processes, or `ray`.")] = "mp",
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON list.")] = False,
) -> None:
    """Prints the commands that start a profile, with their environment, for every node."""
    settings = load_or_exit(name)
    try:
        nodes = launch_commands(settings, name, master_addr, executor)
        if node_rank is not None and not 0 <= node_rank < len(nodes):
            raise ValueError(f"{name} has nodes 0 to {len(nodes) - 1}; there is no node {node_rank}")
    except ValueError as error:
        typer.echo(f"qwend: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from error
    chosen = nodes if node_rank is None else [nodes[node_rank]]
    if as_json:
        typer.echo(json.dumps([node.as_dict() for node in chosen], indent=2))
        return
    typer.echo("\n\n".join(map(_script, chosen)))


def load_or_exit(name: str, flags: dict[str, Any] | None = None) -> Settings:
    """The settings, or an end with each mistake on a line of its own."""
    try:
        return load(name, flags)
    except ProfileError as error:
        for line in str(error).splitlines():
            typer.echo(f"qwend: {line}", err=True)
        raise typer.Exit(EXIT_USAGE) from error


def _script(node: NodeCommands) -> str:
    lines = [f"# node {node.rank}: {node.role}"]
    lines += [f"export {name}={value}" for name, value in node.environment.items()]
    return "\n".join([*lines, *(" ".join(command) for command in node.commands)])


def _plain(settings: Settings) -> dict[str, Any]:
    """The settings but for those that have a place of their own in what is printed."""
    kept: dict[str, Any] = settings.model_dump(
        mode="json", exclude={"profile", "description", "engine", "engine_environment", "reasons"}
    )
    return kept


def _leaves(values: dict[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _leaves(value, f"{path}{key}.") if isinstance(value, dict) and value else [(f"{path}{key}", value)]
    return found


def _print_explained(items: list[Explained]) -> None:
    for item in items:
        typer.echo(f"  {item.name} = {json.dumps(item.value, default=str)}")
        typer.echo(textwrap.indent(textwrap.fill(item.reason, _WIDTH), "      "))
