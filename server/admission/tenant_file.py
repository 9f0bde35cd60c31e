"""The tenants file: read at the start, read again when it changes, and never worse than what it was before."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from server.admission.tenant_schema import Misfit, directory
from server.admission.tenants import Tenant, TenantDirectory, open_directory
from server.telemetry.logs import get_logger
from server.telemetry.metrics import TENANTS_RELOADS

_log = get_logger("tenants")

_POLL_SECONDS = 1.0

# A tenant is some hundred bytes; more than this is some other file.
_MOST_BYTES = 16 * 2**20


class TenantFileError(ValueError):
    """A tenants file cannot be read or says something impossible; the message names the file and the place."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload changed: tenants by name. All empty where the file says what it said before."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but a key that is given twice is a mistake instead of the last one's victory."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, "a field is given twice", key.start_mark)
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: Path, efforts: Collection[str] | None = None) -> TenantDirectory:
    """The directory that a file makes; see `TenantFile`. Reads from disk: not for the event loop.

    Raises TenantFileError.
    """
    return _parse(path, _read(path), efforts)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise TenantFileError(f"{path}: larger than {_MOST_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise TenantFileError(f"{path}: {error.strerror or error}") from error


def _parse(path: Path, content: bytes, efforts: Collection[str] | None) -> TenantDirectory:
    try:
        return directory(yaml.load(content, _Loader), efforts)
    except yaml.MarkedYAMLError as error:
        # Its text quotes the line, on which there may be a key.
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise TenantFileError(f"{path}:{where} {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = error if isinstance(error, Misfit) else "not readable as YAML"
        raise TenantFileError(f"{path}: {reason}") from None


class TenantFile:
    """The current directory and where it comes from. Without a path it is the open one and never changes.

    `on_change` is told of each new directory, on the event loop. A tenant's `effort` must be one of `efforts`, if they
    are given. Reads the file when made; raises TenantFileError.
    """

    def __init__(
        self,
        path: Path | None,
        on_change: Callable[[TenantDirectory], None] = lambda new: None,
        efforts: Collection[str] | None = None,
    ) -> None:
        self.path = path
        self._efforts = efforts
        self._on_change = on_change
        self._lock = asyncio.Lock()
        self._seen: tuple[int, ...] | None = None
        if path is None:
            self.directory = open_directory()
        else:
            self._seen = _stamp(path)
            self.directory = load(path, efforts)

    async def reload(self) -> Change:
        """Reads the file again and takes what it says, all at once.

        Raises TenantFileError and keeps what was before.
        """
        if self.path is None:
            return Change()
        async with self._lock:
            try:
                self._seen = await asyncio.to_thread(_stamp, self.path)
                new = await asyncio.to_thread(load, self.path, self._efforts)
            except TenantFileError as error:
                TENANTS_RELOADS.labels("failed").inc()
                _log.error("tenants not reloaded, the old ones stay", why=str(error))
                raise
            change = _difference(self.directory, new)
            if change == Change():
                TENANTS_RELOADS.labels("unchanged").inc()
                return change
            self.directory = new
            TENANTS_RELOADS.labels("changed").inc()
            _log.info("tenants reloaded", added=change.added, removed=change.removed, changed=change.changed)
            self._on_change(new)
            return change

    async def watch(self) -> None:
        """Reloads whenever the file changes; runs until cancelled.

        It looks at what the path leads to, so that it also sees a symbolic link that is swapped, which is how
        Kubernetes renews a ConfigMap.
        """
        if self.path is None:
            return
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            if await asyncio.to_thread(_stamp, self.path) != self._seen:
                try:
                    await self.reload()
                except TenantFileError:
                    continue  # told already, and not again until it changes


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when the file does; None while there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - follows links, as it must
    except OSError:
        return None
    return status.st_ino, status.st_dev, status.st_mtime_ns, status.st_size


def _difference(old: TenantDirectory, new: TenantDirectory) -> Change:
    before: dict[str, Tenant] = {tenant.name: tenant for tenant in old.tenants}
    after: dict[str, Tenant] = {tenant.name: tenant for tenant in new.tenants}
    old_keys, new_keys = old.keys(), new.keys()
    both = before.keys() & after.keys()
    return Change(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(name for name in both if before[name] != after[name] or old_keys[name] != new_keys[name])),
    )
