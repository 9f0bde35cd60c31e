"""The file of keys, as `qwend keys` makes and changes it: no secret is in it, and it is written whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from server.admission.key_hashes import Scheme, new_key, new_scheme, parse_hash
from server.admission.key_schema import KeysFile, OwnedKeyEntry
from server.admission.strict_yaml import YamlFileError, read_yaml
from server.admission.tenant_schema import told

_HEAD = "# API keys, made by `qwend keys`: their hashes alone. Whoever can write here can let anyone in.\n"


class KeyFileError(ValueError):
    """The file cannot be read or written, or does not have what is asked; the message never holds a key."""


class KeyFile:
    """A file of keys at `path`; it need not be there before the first key."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> Sequence[OwnedKeyEntry]:
        """Every key. Raises KeyFileError."""
        if not self._path.exists():
            return []
        try:
            values = read_yaml(self._path)
        except YamlFileError as error:
            raise KeyFileError(str(error)) from None
        return self._valid(values or {}).keys

    def create(self, tenant: str, **given: Any) -> tuple[str, OwnedKeyEntry]:
        """A new key, which is nowhere afterwards but in what this returns, and its entry.

        `given` are fields of `OwnedKeyEntry`. Raises KeyFileError.
        """
        with self._locked():
            entries = list(self.entries())
            key = new_key()
            hashed = self._scheme(entries).hash(key)
            fields = {"tenant": tenant, "name": given.pop("name", None) or hashed.id, "key": str(hashed)}
            now = datetime.now(UTC).replace(microsecond=0)
            given = {name: value for name, value in given.items() if value is not None and value is not False}
            (made,) = self._valid({"keys": [{**fields, "created": now, **given}]}).keys
            if any((each.tenant, each.name) == (made.tenant, made.name) for each in entries):
                raise KeyFileError(f"{tenant} has a key named {made.name} already")
            self._write([*entries, made])
        return key, made

    def revoke(self, tenant: str, name: str) -> None:
        """Takes the key of that name out. Raises KeyFileError where there is none."""
        with self._locked():
            entries = self.entries()
            left = [each for each in entries if (each.tenant, each.name) != (tenant, name)]
            if len(left) == len(entries):
                raise KeyFileError(f"{self._path}: {tenant} has no key named {name}")
            self._write(left)

    def _valid(self, values: Any) -> KeysFile:
        try:
            return KeysFile.model_validate(values)
        except ValidationError as error:
            places = "; ".join(told(values, each) for each in error.errors(include_url=False))
            raise KeyFileError(f"{self._path}: {places}") from None

    def _scheme(self, entries: Sequence[OwnedKeyEntry]) -> Scheme:
        """The file's own salt: another one would cost every request a hash more."""
        for each in entries:
            if each.key.startswith("blake2b:"):
                with contextlib.suppress(ValueError):
                    return parse_hash(each.key).scheme
        return new_scheme()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands at a time would lose one's key. The folder is locked, since the file is replaced."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY)
        except OSError as error:
            raise KeyFileError(f"{self._path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _write(self, entries: Sequence[OwnedKeyEntry]) -> None:
        keys = [each.model_dump(mode="json", exclude_defaults=True) for each in entries]
        text = _HEAD + yaml.safe_dump({"keys": keys}, sort_keys=False, allow_unicode=True)
        try:
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False, encoding="utf-8") as file:
                try:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                    # As it was, so that the daemon's user can go on reading it; a new one is for its owner alone.
                    mode = self._path.stat().st_mode & 0o777 if self._path.exists() else 0o600
                    Path(file.name).chmod(mode)
                    Path(file.name).replace(self._path)
                except BaseException:
                    Path(file.name).unlink()
                    raise
        except OSError as error:
            raise KeyFileError(f"{self._path}: {error.strerror}") from error
