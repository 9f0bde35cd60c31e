"""What the manifests say that depends on a profile: read from its settings, the planner and the doctor."""

from __future__ import annotations

import math
from dataclasses import dataclass

from server.doctor.shared_memory import needed_bytes
from server.doctor.start import start_of
from server.launch import launch_commands
from server.planning.from_profile import deployment_of
from server.planning.hardware import GIB
from server.planning.model_shapes import model_shapes
from server.planning.weights import parameter_bytes
from server.settings import EMBEDDED, Settings, load

# How long a pod that is to end goes on as before, until every gateway and kube-proxy has heard that it is going.
LEAD_SECONDS = 15
# What docs/operations.md asks for beyond `server.drain_seconds`.
END_SECONDS = 15
# The daemon gives up by itself and says why; the kubelet's own limit must come after that.
PROBE_MARGIN_SECONDS = 60

STARTUP_PERIOD = 10
LIVENESS_PERIOD = 10
READINESS_PERIOD = 5

TENANTS_FILE = "/etc/qwend/tenants/tenants.yaml"
KEYS_FILE = "/etc/qwend/keys/keys.yaml"
PROFILE_FILE = "/etc/qwend/profile/profile.yaml"

# What NVIDIA's GPU feature discovery calls them (label nvidia.com/gpu.product).
GPU_PRODUCTS = {
    "H200": "NVIDIA-H200",
    "H100": "NVIDIA-H100-80GB-HBM3",
    "B200": "NVIDIA-B200",
    "A100": "NVIDIA-A100-SXM4-80GB",
    "RTX-PRO-6000": "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition",
}

# Variables of LeaderWorkerSet; Kubernetes puts their values into a container's arguments.
LEADER, RANK, OWN_ADDRESS = "$(LWS_LEADER_ADDRESS)", "$(LWS_WORKER_INDEX)", "$(VLLM_HOST_IP)"


@dataclass(frozen=True)
class Container:
    """What one kind of pod runs. `command` is empty where the image's entry point, `qwend`, gets the arguments."""

    command: tuple[str, ...]
    args: tuple[str, ...]
    environment: dict[str, str]
    needs_address: bool


@dataclass(frozen=True)
class Figures:
    """A profile as its manifests need it. Sizes in GiB, times in seconds, probes as counts of failures."""

    profile: str
    description: str
    build: str
    nodes: int
    gpus: int
    gpu_product: str | None
    cpus: int
    memory: int
    shared_memory: int
    cache: int
    state: int
    weights: int
    repository: str | None
    model_name: str
    port: int
    start: int
    startup_failures: int
    liveness_failures: int
    drain: int
    grace: int
    api: Container
    worker: Container | None

    @property
    def weights_volume(self) -> int:
        """A tenth more than the weights, for the other files and the file system itself."""
        return math.ceil(self.weights * 1.1 / 10) * 10


def figures(profile: str, executor: str = "mp", served_by: str | None = None) -> Figures:
    """Of a profile by name or file; `served_by` is where a container finds it, if not by its name.

    Raises ProfileError for an unknown profile, ValueError where it is not for `executor`.
    """
    settings = load(profile)
    hardware, server, health, deployment = settings.hardware, settings.server, settings.health, settings.deployment
    weights = _weights_gib(settings)
    start = math.ceil(weights / deployment.weights_gib_per_second + deployment.warm_up_seconds)
    # Of a lame duck too, which a preStop hook makes needless (docs/operations.md).
    drain = math.ceil(server.lame_duck_seconds + server.drain_seconds)
    # One more than the files of responses may take, for the write-ahead log.
    state = math.ceil(settings.responses_store.max_bytes / GIB) + 1
    return Figures(
        profile=profile,
        description=settings.description,
        build="cuda" if hardware.gpu else "cpu",
        nodes=hardware.nodes,
        gpus=hardware.gpus_per_node,
        gpu_product=_product(hardware.gpu) if hardware.gpu else None,
        cpus=deployment.cpus,
        memory=deployment.memory_gib,
        shared_memory=math.ceil(needed_bytes(start_of(settings), hardware.gpus_per_node) / GIB) + 1,
        cache=deployment.cache_gib,
        state=state,
        weights=weights,
        repository=None if settings.model.path == EMBEDDED else settings.model.path,
        model_name=settings.model.served_name,
        port=server.port,
        start=start,
        startup_failures=math.ceil((start + PROBE_MARGIN_SECONDS) / STARTUP_PERIOD),
        # Behind the daemon's own end of a stalled engine, which takes all processes with it and says why.
        liveness_failures=math.ceil((health.end_stalled_seconds + PROBE_MARGIN_SECONDS / 2) / LIVENESS_PERIOD),
        drain=drain,
        grace=LEAD_SECONDS + drain + END_SECONDS,
        api=_container(settings, served_by or profile, executor, worker=False),
        worker=_container(settings, served_by or profile, executor, worker=True) if hardware.nodes > 1 else None,
    )


def _product(gpu: str) -> str:
    """What nodes with it are labelled. Raises ValueError where neither an image nor a device plugin is known here."""
    if gpu not in GPU_PRODUCTS:
        raise ValueError(f"no manifests are made for {gpu}: it is none of {', '.join(GPU_PRODUCTS)}")
    return GPU_PRODUCTS[gpu]


def _weights_gib(settings: Settings) -> int:
    """All files of the checkpoint, whatever of them is loaded; 0 for the one inside the package."""
    if settings.hardware.gpu is None:
        return 0
    deployment = deployment_of(settings)
    tensors = model_shapes(deployment.model).tensors()
    return math.ceil(sum(each.parameters * parameter_bytes(each, deployment.weights) for each in tensors) / GIB)


def _container(settings: Settings, profile: str, executor: str, *, worker: bool) -> Container:
    """The commands of `qwend profiles launch`, with the cluster's own names for the nodes."""
    # Ray's head listens on an address, which it has itself; all else finds it by name.
    master = OWN_ADDRESS if executor == "ray" and not worker else LEADER
    nodes = launch_commands(settings, profile, master if settings.hardware.nodes > 1 else None, executor)
    node = nodes[1 if worker else 0]
    commands = [_ranked(command) if worker else command for command in node.commands]
    environment = {name: value for name, value in node.environment.items() if name != "VLLM_HOST_IP"}
    needs_address = "VLLM_HOST_IP" in node.environment
    if not worker:
        commands[-1] = (*commands[-1], *_SERVING)
    if executor == "mp":
        (command,) = commands
        # The daemon sets its profile's environment itself.
        return Container((), command[1:], {}, needs_address)
    script = " && ".join([*(" ".join(each) for each in commands[:-1]), "exec " + " ".join(commands[-1])])
    return Container(("sh", "-c"), (script,), environment, needs_address)


_SERVING = ("--host", "0.0.0.0", "--log-format", "json", "--tenants", TENANTS_FILE, "--keys", KEYS_FILE)


def _ranked(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command of any node but the first, for whichever rank it has."""
    if "--node-rank" not in command:
        return command
    at = command.index("--node-rank") + 1
    return (*command[:at], RANK, *command[at + 1 :])
