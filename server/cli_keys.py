"""`qwend keys`: makes, lists and revokes API keys. A key is shown once, when it is made; files have its hash."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from server.admission.key_file import KeyFile, KeyFileError
from server.admission.key_schema import OwnedKeyEntry
from server.cli_profiles import EXIT_USAGE

keys_app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

_File = Annotated[
    Path,
    typer.Option("--file", envvar="QWEND_TENANTS__KEYS_FILE", help="The file of keys, as `tenants.keys_file` has it."),
]
_Tenant = Annotated[str, typer.Option(help="Whose key it is.")]


@keys_app.callback()
def keys() -> None:
    """API keys; see `docs/security.md`."""


@keys_app.command()
def create(
    file: _File,
    tenant: _Tenant,
    name: Annotated[str | None, typer.Option(help="Its name in logs; by default 8 digits of its hash.")] = None,
    days: Annotated[float | None, typer.Option(min=0, max=36_500, help="After how many days it expires.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model name it may ask for; repeatable.")] = None,
    dialect: Annotated[list[str] | None, typer.Option(help="A dialect it may use; repeatable.")] = None,
    admin: Annotated[bool, typer.Option(help="It opens the admin port and, without --dialect, nothing else.")] = False,
) -> None:
    """Makes a key, adds its hash to the file and prints the key, this once. The running daemon takes it at once."""
    expires = None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    dialects = dialect or ([] if admin else None)
    try:
        key, entry = KeyFile(file).create(
            tenant, name=name, expires=expires, models=model or None, dialects=dialects, admin=admin
        )
    except KeyFileError as error:
        raise _failed(error) from error
    typer.echo(f"{_line(entry)}\nThe key, which nobody can show again:", err=True)
    typer.echo(key)


@keys_app.command("list")
def list_keys(file: _File) -> None:
    """Lists the keys of the file: names and rights, no secrets."""
    for entry in _entries(file):
        typer.echo(_line(entry))


@keys_app.command()
def revoke(
    file: _File, tenant: _Tenant, name: Annotated[str, typer.Argument(help="The key's name; see `list`.")]
) -> None:
    """Takes a key out of the file. The running daemon refuses it within a second or two."""
    try:
        KeyFile(file).revoke(tenant, name)
    except KeyFileError as error:
        raise _failed(error) from error
    typer.echo(f"revoked {tenant}/{name}", err=True)


def _entries(file: Path) -> Sequence[OwnedKeyEntry]:
    try:
        return KeyFile(file).entries()
    except KeyFileError as error:
        raise _failed(error) from error


def _line(entry: OwnedKeyEntry) -> str:
    said = [f"{entry.tenant}/{entry.name or entry.held()[1].id}"]
    if entry.expires is not None:
        over = entry.expires <= datetime.now(UTC)
        said.append(f"{'expired' if over else 'expires'} {entry.expires.isoformat()}")
    if entry.models is not None:
        said.append("models " + ",".join(entry.models))
    if entry.dialects is not None:
        said.append("dialects " + (",".join(entry.dialects) or "none"))
    if entry.admin:
        said.append("admin")
    return "  ".join(said)


def _failed(error: Exception) -> typer.Exit:
    typer.echo(f"qwend keys: {error}", err=True)
    return typer.Exit(EXIT_USAGE)
