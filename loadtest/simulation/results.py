"""What became of each request."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadtest.simulation.engine import Running
from loadtest.simulation.workload import Request


@dataclass(slots=True)
class Attempt:
    """One try of one request. Times are of the simulation; `outcome` is empty while it goes on."""

    number: int
    request: Request
    arrived: float
    tries: int = 1
    fingerprint: bytes | None = None
    admitted: float | None = None
    first_token: float | None = None
    ended: float | None = None
    outcome: str = ""
    retry_after: float | None = None
    predicted_ttft: float = 0.0
    made: int = 0
    cached: int = 0
    preemptions: int = 0
    # What of it is in the engine.
    sequences: list[Running] = field(default_factory=list)

    @property
    def ttft(self) -> float | None:
        """Seconds to the first token."""
        return None if self.first_token is None else self.first_token - self.arrived


@dataclass(slots=True)
class Sample:
    """The state of the simulated world once a second."""

    at: float
    running: int
    engine_waiting: int
    waiting: int
    kv_used: float
    preemptions: int
    forecast_bias: float = 1.0
    tokens: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Results:
    """One run: every attempt in the order of arrival, and samples of the state."""

    policy: str
    duration: float
    attempts: list[Attempt]
    samples: list[Sample]
    preemptions: int = 0
    steps: int = 0
    busy_seconds: float = 0.0
