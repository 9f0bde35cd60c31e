"""What a start with given settings asks of the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server.engine.arguments import engine_environment, model_path
from server.settings import EMBEDDED, Settings

# vLLM 0.32's own (CacheConfig.gpu_memory_utilization; ParallelConfig.master_port, data_parallel_rpc_port).
GPU_MEMORY_UTILIZATION = 0.92
_MASTER_PORT = 29501
_DATA_PARALLEL_PORT = 29550


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a profile is made for: GPUs of that name, with `memory` bytes each; 0 where it does not say."""

    gpu: str
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """One start on one node. Sizes are in bytes; `environment` is what the engine's processes will see.

    Only the first of several nodes `serves`, and so listens.
    """

    profile: str
    model: str
    revision: str | None = None
    download_folder: str | None = None
    hardware: Hardware | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    nodes: int = 1
    eager: bool = False
    fp8_kv: bool = False
    kv_cache_bytes: int | None = None
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION
    media_cache_in_shared_memory: int = 0
    cluster_ports: tuple[int, ...] = ()
    serves: bool = True
    host: str = "127.0.0.1"
    port: int = 8000
    admin_host: str | None = "127.0.0.1"
    admin_port: int = 8001
    connections: int = 0
    fetches: int = 0
    tenants: str | None = None
    keys: str | None = None
    redis: str | None = field(default=None, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_embedded(self) -> bool:
        """Whether the model is the checkpoint inside the package."""
        return self.model == EMBEDDED

    @property
    def workers(self) -> int:
        """Worker processes of the engine on this node, one a GPU where there are GPUs."""
        return max(1, self.tensor_parallel * self.pipeline_parallel * self.data_parallel // self.nodes)

    @property
    def workers_of_an_engine(self) -> int:
        """Worker processes on this node that one scheduler feeds; several engines are data parallel."""
        return max(1, min(self.tensor_parallel * self.pipeline_parallel, self.workers))

    @property
    def engines(self) -> int:
        """Engine processes on this node."""
        return max(1, self.workers // self.workers_of_an_engine)

    def gpus(self, *, cuda_build: bool) -> int:
        """How many GPUs this node needs. Without a profile that says it, the installed build of vLLM decides."""
        return self.workers if self.hardware is not None or cuda_build else 0


def start_of(settings: Settings) -> Start:
    """What a daemon with `settings` asks of this machine."""
    engine, server, node = settings.engine, settings.server, settings.node
    nodes = settings.hardware.nodes
    data_parallel = int(engine.get("data_parallel_size") or 1)
    # As the engine sets it: a variable that the operator has set already is left alone.
    environment = {**engine_environment(settings), **os.environ}
    kv_cache = engine.get("kv_cache_memory_bytes") or _gib(environment.get("VLLM_CPU_KVCACHE_SPACE"))
    first = node.rank == 0
    ports: tuple[int, ...] = ()
    if nodes > 1 and first:
        ports = (node.master_port or _MASTER_PORT,)
        if data_parallel > 1:
            ports += (int(engine.get("data_parallel_rpc_port") or _DATA_PARALLEL_PORT),)
    return Start(
        profile=settings.profile,
        model=settings.model.path,
        revision=engine.get("revision"),
        download_folder=engine.get("download_dir"),
        hardware=_hardware(settings),
        tensor_parallel=int(engine.get("tensor_parallel_size") or 1),
        pipeline_parallel=int(engine.get("pipeline_parallel_size") or 1),
        data_parallel=data_parallel,
        nodes=nodes,
        eager=bool(engine.get("enforce_eager")),
        fp8_kv=str(engine.get("kv_cache_dtype") or "").startswith("fp8"),
        kv_cache_bytes=int(kv_cache) if kv_cache else None,
        gpu_memory_utilization=float(engine.get("gpu_memory_utilization") or GPU_MEMORY_UTILIZATION),
        media_cache_in_shared_memory=_media_cache(engine),
        cluster_ports=ports,
        host=server.host,
        port=server.port,
        serves=first,
        admin_host=server.admin_host if server.admin else None,
        admin_port=(server.port + 1 if server.port else 0) if server.admin_port is None else server.admin_port,
        connections=settings.admission.max_waiting + int(engine.get("max_num_seqs") or 1024),
        fetches=settings.media.fetch_at_once if settings.media.fetch != "off" else 0,
        tenants=settings.tenants.file,
        keys=settings.tenants.keys_file,
        redis=settings.quotas.storage_url.get_secret_value() if settings.quotas.storage_url else None,
        environment=environment,
    )


def model_location(start: Start) -> str:
    """The folder or hub id that vLLM is given."""
    return model_path(start.model)


def _hardware(settings: Settings) -> Hardware | None:
    hardware = settings.hardware
    if hardware.gpu is None:
        return None
    return Hardware(hardware.gpu, int((hardware.memory_gib or 0) * 2**30))


def _gib(text: str | None) -> int:
    return int(text) * 2**30 if text and text.isdigit() else 0


def _media_cache(engine: Mapping[str, Any]) -> int:
    if engine.get("mm_processor_cache_type") != "shm":
        return 0
    gib = engine.get("mm_processor_cache_gb")
    return int(float(4 if gib is None else gib) * 2**30)
