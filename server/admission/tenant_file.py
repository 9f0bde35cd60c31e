"""The tenants file: read at the start, read again when it changes, and never worse than what it was before."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from server.admission.strict_yaml import YamlFileError, read_yaml
from server.admission.tenant_schema import Misfit, directory
from server.admission.tenants import Tenant, TenantDirectory, open_directory
from server.telemetry.logs import get_logger
from server.telemetry.metrics import TENANTS_RELOADS

_log = get_logger("tenants")

_POLL_SECONDS = 1.0


class TenantFileError(ValueError):
    """A tenants file cannot be read or says something impossible; the message names the file and the place."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload changed: tenants by name. All empty where the file says what it said before."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def load(
    path: Path | None, efforts: Collection[str] | None = None, keys: Path | None = None, private: bool = False
) -> TenantDirectory:
    """The directory that a tenants file, a keys file or both make; see `TenantsFile` and `KeysFile`. Reads from disk:
    not for the event loop.

    Raises TenantFileError.
    """
    told = path or keys
    try:
        values = None if path is None else read_yaml(path)
        owned = None if keys is None else read_yaml(keys)
        return directory(values, efforts, owned, only_keys=path is None, private=private)
    except YamlFileError as error:
        raise TenantFileError(str(error)) from None
    except Misfit as error:
        raise TenantFileError(f"{told}: {error}") from None


class TenantFile:
    """The current directory and where it comes from: a tenants file, a file of keys, or both. With neither it is the
    open one and never changes.

    `on_change` is told of each new directory, on the event loop. A tenant's `effort` must be one of `efforts`, if they
    are given. Reads the file when made; raises TenantFileError.
    """

    def __init__(
        self,
        path: Path | None,
        on_change: Callable[[TenantDirectory], None] = lambda new: None,
        efforts: Collection[str] | None = None,
        keys: Path | None = None,
        private: bool = False,
    ) -> None:
        self._path = path
        self._keys = keys
        self._private = private
        self._efforts = efforts
        self._on_change = on_change
        self._lock = asyncio.Lock()
        self._seen = self._stamps()
        self.directory = load(path, efforts, keys, private) if self._kept else open_directory()

    @property
    def _kept(self) -> bool:
        return self._path is not None or self._keys is not None

    async def reload(self) -> Change:
        """Reads the files again and takes what it says, all at once.

        Raises TenantFileError and keeps what was before.
        """
        if not self._kept:
            return Change()
        async with self._lock:
            try:
                self._seen = await asyncio.to_thread(self._stamps)
                new = await asyncio.to_thread(load, self._path, self._efforts, self._keys, self._private)
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
        """Reloads whenever a file changes; runs until cancelled.

        It looks at what the path leads to, so that it also sees a symbolic link that is swapped, which is how
        Kubernetes renews a ConfigMap.
        """
        if not self._kept:
            return
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            if await asyncio.to_thread(self._stamps) != self._seen:
                try:
                    await self.reload()
                except TenantFileError:
                    continue  # told already, and not again until it changes

    def _stamps(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(None if path is None else stamp(path) for path in (self._path, self._keys))


def stamp(path: Path) -> tuple[int, ...] | None:
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
