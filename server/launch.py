"""The commands that start a profile on each of its nodes: the one source for what people and deployments run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from server.settings import Settings

EXECUTORS = ("mp", "ray")

_RAY_PORT = 6379


@dataclass(frozen=True)
class NodeCommands:
    """What is run on one node, in this order; the last command stays. `role` says what the node then does.

    `NODE_0_ADDRESS` and the like the operator replaces.
    """

    rank: int
    role: Literal["serves the API and a share of the model", "serves a share of the model", "serves the API"]
    environment: dict[str, str]
    commands: tuple[tuple[str, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def launch_commands(settings: Settings, profile: str, master_addr: str | None, executor: str) -> list[NodeCommands]:
    """The nodes in the order of their ranks. `profile` is the name or file to serve by.

    With `mp`, vLLM's own processes, every node runs `qwend serve`; with `ray` the nodes form a Ray cluster first and
    only node 0 runs it. Raises ValueError for another executor, and for Ray where there is one node.
    """
    if executor not in EXECUTORS:
        raise ValueError(f"the executor is one of {', '.join(EXECUTORS)}, not {executor!r}")
    nodes = settings.hardware.nodes
    serve = ("qwend", "serve", "--profile", profile)
    own = dict(settings.engine_environment)
    if nodes == 1:
        if executor == "ray":
            raise ValueError("Ray is for several nodes; on one node vLLM's own processes do the same")
        return [NodeCommands(0, "serves the API", own, (serve,))]
    master = master_addr or "NODE_0_ADDRESS"
    return [
        NodeCommands(
            rank,
            "serves a share of the model" if rank else "serves the API and a share of the model",
            # A machine of this kind has several networks, and each process tells others the address it is reached at.
            {**own, "VLLM_HOST_IP": f"NODE_{rank}_ADDRESS" if rank or master_addr is None else master_addr},
            _ray(rank, master, serve, nodes) if executor == "ray" else _mp(rank, master, serve),
        )
        for rank in range(nodes)
    ]


def check_node(settings: Settings) -> None:
    """Raises ValueError where this node could only wait for others without end."""
    nodes, node = settings.hardware.nodes, settings.node
    if node.rank >= nodes:
        raise ValueError(f"--node-rank {node.rank}: the profile has {nodes} node{'s' if nodes > 1 else ''}, from 0")
    if nodes > 1 and node.master_addr is None and settings.engine.get("distributed_executor_backend") != "ray":
        raise ValueError(f"--master-addr is needed: the profile is for {nodes} nodes, which meet at node 0")


def check_supervision(settings: Settings) -> None:
    """Raises ValueError where a new start of this node alone would only wait for the others."""
    if settings.supervise.on and settings.hardware.nodes > 1:
        raise ValueError("--supervise is for one node: the nodes of a profile must be started anew together")


def _mp(rank: int, master: str, serve: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return ((*serve, "--node-rank", str(rank), "--master-addr", master),)


def _ray(rank: int, master: str, serve: tuple[str, ...], nodes: int) -> tuple[tuple[str, ...], ...]:
    if rank:
        return (("ray", "start", f"--address={master}:{_RAY_PORT}", "--block"),)
    return (
        ("ray", "start", "--head", f"--node-ip-address={master}", f"--port={_RAY_PORT}"),
        (*serve, "--executor", "ray"),
    )
