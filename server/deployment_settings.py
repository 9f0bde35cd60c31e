"""The sections that say what a profile is made for: the hardware, the weights, the place in a cluster, the prices."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from server.section import Section

Precision = Literal["bf16", "fp8", "nvfp4", "gptq-int4", "awq"]


class HardwareSettings(Section):
    """The machines that a profile is made for. Nothing here changes what vLLM does but `nodes`."""

    gpu: str | None = Field(None, description="GPU model, such as `H200`; none is a CPU.")
    gpus_per_node: int = Field(0, ge=0, description="GPUs that are used on each node.")
    nodes: int = Field(1, ge=1, description="Machines that serve together as one; above 1 they get vLLM's `nnodes`.")
    memory_gib: float | None = Field(None, gt=0, description="Memory of one GPU in GiB.")
    usd_per_gpu_hour: float | None = Field(None, ge=0, description="What a GPU costs for an hour, in US dollars.")

    @property
    def gpus(self) -> int:
        """GPUs on all nodes together."""
        return self.gpus_per_node * self.nodes


class WeightsSettings(Section):
    """What the weights are, where that is to be known before they are there."""

    precision: Precision = Field("bf16", description="How the weights are stored.")
    shapes: str | None = Field(
        None,
        description="Where the model's shapes are read without its weights: a folder of `config/models`, or a path.",
    )


class NodeSettings(Section):
    """This machine's place among the nodes of a profile; flags of `qwend serve`."""

    rank: int = Field(0, ge=0, description="0 serves the API; the others run its workers.")
    master_addr: str | None = Field(None, description="Address of node 0, as the other nodes reach it.")
    master_port: int | None = Field(
        None, ge=1, le=65535, description="Port of node 0 for torch; vLLM's own by default."
    )


class DeploymentSettings(Section):
    """What a cluster must be told before it starts the profile: `deploy/kubernetes` is made from it.

    Nothing here changes the daemon. How much shared memory it needs is worked out, as `qwend doctor` does.
    """

    cpus: int = Field(4, ge=1, description="Cores that are asked for, on each node.")
    memory_gib: int = Field(8, ge=1, description="Memory that is asked for on each node and not exceeded, in GiB.")
    weights_gib_per_second: float = Field(
        0.5, gt=0, description="Slowest reading of the weights that a start is given time for, in GiB/s on each node."
    )
    warm_up_seconds: float = Field(
        900.0,
        ge=0,
        description="What a start is given beside reading the weights: imports, compiling with an empty cache, CUDA "
        "graphs, first steps.",
    )
    cache_gib: int = Field(20, ge=1, description="Volume that keeps what was compiled, in GiB.")


class PriceSettings(Section):
    """Prices in US dollars per million tokens, which costs are compared with."""

    input: float | None = Field(None, ge=0, description="Prompt tokens that are computed.")
    cached_input: float | None = Field(None, ge=0, description="Prompt tokens found in the prefix cache.")
    output: float | None = Field(None, ge=0, description="Tokens of the answer, thinking included.")
