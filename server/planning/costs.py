"""What tokens cost at a load, from the price of the GPUs and the time that the tokens take of them.

The engine's time is split between prefill and decode. Prefill takes a fixed time per token; decode takes steps, and
the number of sequences in a step follows from the load (Little's law). All money of the hour is charged to the tokens
of the hour, idle time included, so light loads are dear:

- a **cached** input token pays for the room that it takes in the KV cache until it is used again,
- the rest is split between the **input** tokens that are computed and the **output** tokens by the time each takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.planning.ceilings import Roofline

MILLION = 1_000_000

DECODE_EFFICIENCY = 0.5
"""Part of the ceiling that decode reaches in large batches; see `measurements.py` and `docs/planning.md`."""

PREFILL_EFFICIENCY = 0.1
"""The same for prefill: 330 ms to the first token of an 8K prompt on 8xH100 (SemiAnalysis InferenceX, 4 at once)."""

LAYER_SECONDS = 90e-6
"""Least time of one layer in a decode step: kernels too small to fill the GPU, and the collectives between them. 166
tokens a second of a lone sequence on 8xH100 without MTP (SemiAnalysis InferenceX) are 6.0 ms for 60 layers."""

ACCEPTANCE = 0.8
"""Chance of a drafted token to be right; measurements of this model say 0.8 to 0.9."""


@dataclass(frozen=True)
class Load:
    """Requests of one shape."""

    requests_per_second: float
    """In all, to the whole deployment."""
    input_tokens: int
    cached_share: float
    """Part of the input that the prefix cache has."""
    output_tokens: int
    cached_seconds: float = 300.0
    """How long a cached token waits for its next use."""


@dataclass(frozen=True)
class Cost:
    """US dollars per million tokens, and how the deployment stands at the load."""

    load: Load
    input: float
    cached: float
    output: float
    sequences: float
    """Sequences in a step of each replica."""
    output_tokens_per_second_per_sequence: float
    prefill_share: float
    """Part of the time that goes to prefill."""
    dollars_per_hour: float


@dataclass(frozen=True)
class HostedPrice:
    """A public price of the same model, US dollars per million tokens."""

    name: str
    input: float
    cached: float
    output: float


# Alibaba Model Studio, international: qwen3.5-plus (github.com/anomalyco/models.dev), and the open weights under their
# own name, whose cached input is a fifth of the input (its page on the context cache, implicit hits).
HOSTED = (
    HostedPrice("hosted qwen3.5-plus, up to 256K", 0.40, 0.04, 2.40),
    HostedPrice("hosted qwen3.5-plus, above 256K", 0.50, 0.05, 3.00),
    HostedPrice("hosted qwen3.5-397b-a17b", 0.60, 0.12, 3.60),
)


def hosted(model_name: str) -> tuple[HostedPrice, ...]:
    """Public prices of the model of that name; none are known of its siblings."""
    return HOSTED if model_name.startswith("qwen3.5-397b") else ()


@dataclass(frozen=True)
class CostModel:
    """A deployment's speed as expected, not as bounded: parts of the ceilings, steps no shorter than layers take."""

    roofline: Roofline
    price_per_gpu_hour: float
    kv_bytes: int
    """Memory of the KV cache per GPU."""
    most_sequences: int
    step_tokens: int
    """Tokens of a prefill step."""
    decode_efficiency: float = DECODE_EFFICIENCY
    prefill_efficiency: float = PREFILL_EFFICIENCY
    acceptance: float = ACCEPTANCE

    def step_seconds(self, sequences: float, context: int) -> float:
        """Expected seconds of a decode step."""
        ceiling = self.roofline.decode(max(1.0, sequences), context, self.acceptance).step.seconds
        shapes, drafts = self.roofline.shapes, self.roofline.deployment.mtp_tokens
        return max(ceiling / self.decode_efficiency, (shapes.layers + drafts) * LAYER_SECONDS)

    def decode_rate(self, sequences: float, context: int) -> float:
        """Expected output tokens per second of one replica that does nothing else."""
        tokens = sum(self.acceptance**position for position in range(self.roofline.deployment.mtp_tokens + 1))
        return sequences * tokens / self.step_seconds(sequences, context)

    def prefill_rate(self, context: int) -> float:
        """Expected prompt tokens per second of one replica that does nothing else."""
        rate, _ = self.roofline.prefill(context, self.step_tokens)
        return rate * self.roofline.deployment.replica_gpus * self.prefill_efficiency

    def most_requests_per_second(self, load: Load) -> float:
        """The rate of requests of this shape at which the deployment is full."""
        context = load.input_tokens + load.output_tokens // 2
        prefill = load.input_tokens * (1 - load.cached_share) / self.prefill_rate(load.input_tokens)
        decode = load.output_tokens / self.decode_rate(self.most_sequences, context)
        return self.roofline.deployment.data_parallel / (prefill + decode)

    def cost(self, load: Load) -> Cost | None:
        """What the tokens of `load` cost; None where the deployment cannot carry it."""
        deployment = self.roofline.deployment
        context = load.input_tokens + load.output_tokens // 2
        rate = load.requests_per_second / deployment.data_parallel
        computed = load.input_tokens * (1 - load.cached_share)
        prefill = rate * computed / self.prefill_rate(load.input_tokens)
        wanted = rate * load.output_tokens
        if prefill >= 1 or wanted > self.decode_rate(self.most_sequences, context) * (1 - prefill):
            return None
        sequences = self._sequences(wanted / (1 - prefill), context)
        speed = self.decode_rate(max(1.0, sequences), context) / max(1.0, sequences) * (1 - prefill)
        # A lone sequence keeps the engine busy only while it is there.
        decode = min(1.0, sequences) * (1 - prefill)
        dollars = self.price_per_gpu_hour * deployment.hardware.gpus / 3600
        share = deployment.data_parallel * self.kv_bytes
        token = self.roofline.kv_bytes_per_token()
        cached_rate = load.requests_per_second * load.input_tokens * load.cached_share
        cached = min(token / share * load.cached_seconds * cached_rate, 1.0) * dollars
        rest = dollars - cached
        return Cost(
            load,
            input=_per_million(rest * prefill / (prefill + decode), load.requests_per_second * computed),
            cached=_per_million(cached, cached_rate),
            output=_per_million(rest * decode / (prefill + decode), load.requests_per_second * load.output_tokens),
            sequences=sequences,
            output_tokens_per_second_per_sequence=speed,
            prefill_share=prefill,
            dollars_per_hour=dollars * 3600,
        )

    def _sequences(self, tokens_per_second: float, context: int) -> float:
        """Sequences in a step at which decode gives `tokens_per_second`; below 1, the part of the time with one."""
        if tokens_per_second <= self.decode_rate(1, context):
            return tokens_per_second / self.decode_rate(1, context)
        low, high = 1.0, float(self.most_sequences)
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if self.decode_rate(middle, context) >= tokens_per_second else (middle, high)
        return high


def _per_million(dollars_per_second: float, tokens_per_second: float) -> float:
    return dollars_per_second / tokens_per_second * MILLION if tokens_per_second else 0.0
