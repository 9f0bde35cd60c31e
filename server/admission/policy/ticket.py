"""A request as the policy sees it, from its arrival to its one end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.admission.classes import PriorityClass


class Stage(StrEnum):
    """Where a request stands. STOPPING is RUNNING with a stop on its way."""

    RESERVED = "reserved"
    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Ask:
    """What is known of a request before its prompt is rendered.

    `prompt_tokens` is a guess from its size, `max_tokens` what it may make at most, and `answers` how often its prompt
    runs. `ttft_seconds` and `total_seconds` are objectives from its arrival, None for the class's own. `fingerprint`
    tells a client that comes back with the same request from a new one.
    """

    tenant: str
    weight: float
    priority: PriorityClass
    prompt_tokens: int
    max_tokens: int
    answers: int = 1
    thinking: bool = False
    effort: str | None = None
    ttft_seconds: float | None = None
    total_seconds: float | None = None
    fingerprint: bytes | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a rendered request takes, in tokens.

    `cached` is an estimate of the prompt tokens that the engine need not compute again, `made` what an answer has
    already (of a stopped request that goes on). `resumable` says whether it can be stopped and gone on with unnoticed.
    """

    prompt: int
    cached: int
    max_tokens: int
    made: int = 0
    resumable: bool = False


class Ticket:
    """One request; only the controller changes it. Times are on the controller's clock, in seconds."""

    __slots__ = (
        "admitted",
        "arrived",
        "ask",
        "bypassed",
        "cached",
        "charged",
        "charged_input",
        "charged_output",
        "first_token",
        "id",
        "line",
        "long",
        "looked",
        "made",
        "max_tokens",
        "order",
        "peak",
        "place",
        "predicted_output",
        "predicted_ttft",
        "predicted_wait",
        "prefilling",
        "priority",
        "prompt",
        "queue_deadline",
        "queued",
        "resumable",
        "slot",
        "stage",
        "total_deadline",
        "uncached",
        "why",
        "work_ahead",
    )

    def __init__(self, number: int, ask: Ask, arrived: float) -> None:
        self.id = number
        self.ask = ask
        self.priority = ask.priority
        self.stage = Stage.RESERVED
        self.arrived = arrived
        # Place in its tenant's line: the time of the first try, so that who comes back when told to is not last again.
        self.order = arrived
        self.prompt = ask.prompt_tokens
        self.cached = 0
        self.uncached = ask.prompt_tokens
        self.max_tokens = ask.max_tokens
        # Tokens of all answers together.
        self.made = 0
        self.predicted_output = 0
        # What was expected of it at the door, to learn from.
        self.predicted_wait = 0.0
        self.predicted_ttft = 0.0
        self.work_ahead = 0.0
        # The class whose counters it is charged to, and the tokens charged.
        self.charged = ask.priority
        self.charged_input = 0.0
        self.charged_output = 0.0
        self.queued: float | None = None
        self.admitted: float | None = None
        self.first_token: float | None = None
        self.queue_deadline: float | None = None
        self.total_deadline: float | None = None
        self.long = False
        self.prefilling = False
        self.resumable = False
        self.bypassed = 0
        # Its place in the room's count of KV tokens, and the most of them that it was expected to hold.
        self.slot: int | None = None
        self.peak = 0
        # The line that it waits in, so that what it left behind in another is told from it.
        self.line: object | None = None
        self.place = 0
        # What kept it out when it was looked at, and which of the controller's decisions that was in.
        self.why = ""
        self.looked = 0

    @property
    def tenant(self) -> str:
        """Name of the tenant that it belongs to."""
        return self.ask.tenant

    @property
    def returned(self) -> bool:
        """Whether it came back when it was told to; it goes before others of its line, so its wait is not theirs."""
        return self.order < self.arrived

    @property
    def sequences(self) -> int:
        """Sequences that it takes in the engine."""
        return self.ask.answers

    @property
    def remaining_output(self) -> int:
        """Tokens that it is expected to make yet, of all answers."""
        return max(0, self.predicted_output - self.made)
