"""One look at this machine: facts are gathered, at once where they take time, and judged check by check."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from server.doctor.access import REDIS, TENANTS, check_redis, check_tenants
from server.doctor.checksums import CHECKSUMS, Digest, check_checksums
from server.doctor.clock import CLOCK, check_clock
from server.doctor.cpu import CPU, check_cpu
from server.doctor.disk import DISK, KERNEL_CACHE, check_disk, check_kernel_cache
from server.doctor.file_descriptors import FILES, check_files
from server.doctor.findings import Check, Finding, Level
from server.doctor.gathering.access import gather_redis, gather_tenants
from server.doctor.gathering.gpus import gather_gpus, gather_links
from server.doctor.gathering.hub import ask_hub
from server.doctor.gathering.machine import (
    gather_clock,
    gather_cpu,
    gather_disk,
    gather_files,
    gather_memory,
    gather_shared_memory,
    in_container,
    kernel_cache_folder,
)
from server.doctor.gathering.ports import gather_ports, outgoing_ports
from server.doctor.gathering.snapshot import cached_snapshot, hub_cache, read_digests, read_snapshot
from server.doctor.gathering.versions import gather_versions
from server.doctor.gpus import DRIVER, GPUS, HEALTH, check_driver, check_gpus, check_health
from server.doctor.hub import HUB, HubFacts, check_hub, missing_bytes
from server.doctor.memory import MEMORY, check_memory
from server.doctor.ports import PORTS, check_ports
from server.doctor.shared_memory import SHARED_MEMORY, check_shared_memory
from server.doctor.start import Start, model_location
from server.doctor.topology import LINKS, NCCL, LinkFacts, check_links, check_nccl
from server.doctor.versions import ENGINE, PYTHON, check_engine, check_python
from server.doctor.weights import WEIGHTS, check_weights, is_complete

CHECKS: tuple[Check, ...] = (
    *(DRIVER, GPUS, HEALTH, LINKS, NCCL),
    *(CPU, MEMORY, SHARED_MEMORY, FILES, CLOCK),
    *(WEIGHTS, CHECKSUMS, HUB, DISK, KERNEL_CACHE),
    PORTS,
    *(PYTHON, ENGINE),
    *(TENANTS, REDIS),
)
"""Every check, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found, in the order of `CHECKS`, and what there was nothing to check of."""

    findings: tuple[Finding, ...]
    not_checked: tuple[Check, ...]

    def count(self, level: Level) -> int:
        """How many findings are of that level."""
        return sum(finding.level is level for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """1 where anything failed, else 0."""
        return int(self.count(Level.FAIL) > 0)


def examine(
    start: Start, *, hash_everything: bool = False, progress: Callable[[int, int], None] = lambda done, total: None
) -> Examination:
    """Looks at this machine for a start. `progress` is told bytes hashed and to hash; nothing is changed."""
    with ThreadPoolExecutor(4) as pool:
        gpus_asked = pool.submit(gather_gpus, start.environment)
        redis_asked = pool.submit(gather_redis, start.redis)
        folder, hub_asked = _model_folder(start), None
        if folder is None or _is_hub_id(start):
            hub_asked = pool.submit(ask_hub, start.environment, start.model, start.revision)
        snapshot = read_snapshot(folder) if folder is not None else None
        gpus = gpus_asked.result()
        links = gather_links(gpus) if gpus.gpus else LinkFacts()
        hub = hub_asked.result() if hub_asked is not None else None
        redis = redis_asked.result()
    digests: list[Digest] = []
    if folder is not None and not start.is_embedded:  # part of the package, as whoever installed it got it
        of_hub = _digests_of(hub, folder)
        digests = read_digests(folder, everything=hash_everything, of_hub=of_hub, progress=progress)

    versions = gather_versions()
    needed = start.gpus(cuda_build=versions.cuda_build)
    complete = is_complete(snapshot)
    cache = hub_cache(start.environment, start.download_folder)
    missing = missing_bytes(hub, {digest.name: digest.size for digest in digests})
    kernels = gather_disk(kernel_cache_folder(start.environment))
    found = (
        check_driver(gpus, needed, versions.cuda_runtime),
        check_gpus(gpus, start, needed),
        check_health(gpus, needed),
        check_links(links, gpus, needed),
        check_nccl(links, start, needed) if gpus.gpus else None,
        check_cpu(gather_cpu(), start, needed),
        check_memory(gather_memory(), start, needed, snapshot.weight_bytes if snapshot is not None else 0),
        check_shared_memory(gather_shared_memory(), start, needed),
        check_files(gather_files(), start),
        check_clock(gather_clock(), start, hub.ahead if hub is not None else None),
        check_weights(snapshot, start.model, can_download=hub is not None and hub.reached),
        check_checksums(digests, hashed_all=hash_everything),
        check_hub(hub, start.model, complete=complete, local_commit=folder.name if folder is not None else ""),
        check_disk(gather_disk(cache), complete=complete, missing=missing) if hub is not None else None,
        check_kernel_cache(kernels, start, in_container=in_container(start.environment)),
        check_ports(gather_ports(start), outgoing_ports()),
        check_python(versions),
        check_engine(versions, needed),
        check_tenants(gather_tenants(start.tenants, start.keys), start),
        check_redis(redis),
    )
    findings = tuple(finding for finding in found if finding is not None)
    told = {finding.check for finding in findings}
    return Examination(findings, tuple(check for check in CHECKS if check not in told))


def _is_hub_id(start: Start) -> bool:
    """As vLLM decides it: what is no folder is a name at the hub."""
    return not start.is_embedded and not Path(model_location(start)).is_dir()


def _model_folder(start: Start) -> Path | None:
    if not _is_hub_id(start):
        return Path(model_location(start))
    return cached_snapshot(hub_cache(start.environment, start.download_folder), start.model, start.revision)


def _digests_of(hub: HubFacts | None, folder: Path) -> dict[str, str]:
    """The hub's digests of the files here, if its listing is of the same revision."""
    if hub is None or hub.commit != folder.name:
        return {}
    return {name: file.digest for name, file in hub.files.items()}
