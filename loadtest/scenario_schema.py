"""What a scenario file may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from loadtest.distributions import Constant, Numbers
from loadtest.strict import Strict

_TIMES = re.compile(r"^\d+(\.\d+)?x$")


def _rate(value: Any) -> Any:
    if isinstance(value, str) and not _TIMES.match(value):
        raise ValueError(f"a rate is a number of requests a second, or times the capacity as `1.5x`, not `{value}`")
    if isinstance(value, (int, float)) and value < 0:
        raise ValueError("a rate is not negative")
    return value


Rate: TypeAlias = Annotated[float | str, BeforeValidator(_rate)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Seconds: TypeAlias = Annotated[float, Field(gt=0)]


def per_second(rate: float | str, capacity: float | None) -> float:
    """A rate in requests a second. Raises ValueError where it is told by a capacity that is not known."""
    if not isinstance(rate, str):
        return float(rate)
    if capacity is None:
        raise ValueError(f"the rate `{rate}` is told by the server's capacity: give it with --capacity")
    return float(rate.removesuffix("x")) * capacity


class Span(Strict):
    """From when until when, in seconds from the start of the run."""

    start: float = Field(0.0, ge=0, description="No request before, in seconds from the start.")
    end: Seconds | None = Field(None, description="No request after; by default the end of the run.")


class Poisson(Span):
    """Requests that know nothing of each other."""

    process: Literal["poisson"]
    rate: Rate = Field(description="Requests a second, or times the capacity as `2x`.")


class Even(Span):
    """Requests at equal distances."""

    process: Literal["constant"]
    rate: Rate = Field(description="Requests a second, or times the capacity as `2x`.")


class Gamma(Span):
    """Bursts (or, above 1, evenness) as in `vllm bench serve --burstiness`."""

    process: Literal["gamma"]
    rate: Rate = Field(description="Requests a second, or times the capacity as `2x`.")
    burstiness: float = Field(0.25, gt=0, description="Shape of the distances: 1 is Poisson, less is more in bursts.")


class Ramp(Span):
    """Poisson arrivals whose rate goes in a line."""

    process: Literal["ramp"]
    rate: Rate = Field(description="Requests a second at the start.")
    to: Rate = Field(description="Requests a second at the end.")


class Level(Strict):
    """A rate that holds from then on."""

    at: float = Field(ge=0, description="Seconds from the start.")
    rate: Rate = Field(description="Requests a second, or times the capacity as `2x`.")


class Step(Span):
    """Poisson arrivals whose rate changes at once."""

    process: Literal["step"]
    levels: list[Level] = Field(min_length=1, description="The rates, in order.")

    @model_validator(mode="after")
    def _ordered(self) -> Step:
        if any(later.at <= sooner.at for sooner, later in zip(self.levels, self.levels[1:], strict=False)):
            raise ValueError("`levels` must be in the order of `at`")
        return self


class Trace(Span):
    """Recorded arrivals, with their lengths of prompt and answer."""

    process: Literal["trace"]
    format: Literal["azure", "mooncake"] = Field(description="Of the file.")
    path: Path | None = Field(None, description="The file; by default the small made-up sample of the package.")
    speed: float = Field(1.0, gt=0, description="Times as fast as recorded.")
    scale: float = Field(1.0, gt=0, description="Times as many tokens in prompts and answers as recorded.")
    requests: int | None = Field(None, ge=1, description="Only so many of the first.")


Arrivals: TypeAlias = Annotated[Poisson | Even | Gamma | Ramp | Step | Trace, Field(discriminator="process")]


class Objective(Strict):
    """What a request must keep to count for goodput; what is left out is not asked for."""

    ttft: Seconds | None = Field(None, description="Seconds to the first token.")
    tpot: Seconds | None = Field(None, description="Mean seconds for each token after the first.")
    e2e: Seconds | None = Field(None, description="Seconds to the end of the answer.")


class SharedPrefix(Strict):
    """System prompts that many requests share."""

    share: Share = Field(description="Part of the requests that have one.")
    tokens: Numbers = Field(description="How long they are; drawn once for each.")
    prefixes: int = Field(1, ge=1, description="How many there are.")


class Turns(Strict):
    """Agents: conversations that come back with all that was said, and some more."""

    turns: Numbers = Field(description="Requests of a conversation.")
    pause: Numbers = Field(Constant(value=1.0), description="Seconds between an answer and the next request.")
    grows: Numbers = Field(Constant(value=20), description="Tokens that each turn adds to the answer before it.")


class Cancels(Strict):
    """Clients that go away."""

    share: Share = Field(description="Part of the requests.")
    after: Numbers = Field(description="Seconds after they came.")


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("`key_env` names an environment variable; a key itself has no place in a scenario")
    return name


class Tenant(Strict):
    """Requests of one kind, from one caller."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Its name in the report.")
    key_env: Annotated[str, AfterValidator(_variable)] | None = Field(
        None, description="Environment variable that holds its API key; a key file or `OPENAI_API_KEY` is used without."
    )
    arrivals: Arrivals = Field(description="When its requests come.")
    prompt: Numbers = Field(Constant(value=100), description="Tokens of its prompts.")
    output: Numbers = Field(Constant(value=64), description="`max_tokens` of its answers.")
    sharegpt: Path | Literal["sample"] | None = Field(
        None, description="Prompts, and lengths of answers, from this ShareGPT file in place of `prompt` and `output`."
    )
    thinking_share: Share | None = Field(
        None,
        description="Part that thinks, by `chat_template_kwargs.enable_thinking`; by default nothing is said of it.",
    )
    tool_share: Share = Field(0.0, description="Part that offers a function and asks what needs it.")
    image_share: Share = Field(0.0, description="Part with an image.")
    image_pixels: int = Field(64, ge=8, le=4096, description="Width and height of the images.")
    shared_prefix: SharedPrefix | None = Field(None, description="System prompts that many share.")
    conversation: Turns | None = Field(None, description="Agents that come back; by default each request is alone.")
    cancels: Cancels | None = Field(None, description="Clients that go away.")
    deadline: Seconds | None = Field(None, description="Seconds after which the client gives up, and has a miss.")
    deadline_header: str | None = Field(
        None, description="Header that tells the server so, in milliseconds, such as `x-request-timeout-ms`."
    )
    retries: int = Field(0, ge=0, le=10, description="How often a refused client comes back when `Retry-After` says.")
    service_tier: str | None = Field(None, description="OpenAI's field for the priority.")
    body: dict[str, Any] = Field({}, description="Other fields of the request, such as `ignore_eos`, `temperature`.")
    slo: Objective | None = Field(None, description="In place of the scenario's.")
    weight: float = Field(1.0, gt=0, description="Its share by right, for the fairness index.")
    well_behaved: bool = Field(True, description="Whether it keeps to its share; a flooder does not.")


class Event(Strict):
    """Something that is done to the server during the run."""

    at: float = Field(ge=0, description="Seconds from the start.")
    post: str = Field(description="URL to POST to; `{admin_url}` stands for --admin-url.")


class Sweep(Strict):
    """The same load at growing rates, to find what the server can do."""

    first: float = Field(1.0, gt=0, description="Requests a second of all tenants together, to begin with.")
    factor: float = Field(1.5, gt=1, le=10, description="Each rate is so many times the one before.")
    most: float = Field(10_000.0, gt=0, description="No rate above.")
    attainment: Share = Field(0.95, description="Part of the requests that must meet their objective.")
    refine: int = Field(2, ge=0, le=10, description="Rates tried between the last good and the first bad one.")


class Gates(Strict):
    """What makes a run invalid or failed."""

    lag_p99_ms: float = Field(5.0, gt=0, description="p99 by which requests may be sent late, in milliseconds.")
    cpu: float = Field(0.95, gt=0, description="Most CPU time a second that a sending process may need.")
    attainment: Share = Field(0.0, description="Part of the requests of well-behaved tenants that must meet their SLO.")
    errors: Share = Field(0.0, description="Part of all requests that may end in errors; refusals are none.")


class Scenario(Strict):
    """A whole file."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Its name.")
    description: str = Field("", description="What it shows.")
    duration: Seconds = Field(60.0, description="Seconds in which requests come.")
    warmup: float = Field(0.0, ge=0, description="What comes in the first seconds is sent but not counted.")
    settle: Seconds = Field(120.0, description="Seconds after the last arrival in which answers may end.")
    seed: int = Field(1, description="Of everything random.")
    model: str | None = Field(None, description="By default the first that /v1/models names.")
    slo: Objective = Field(Objective(), description="Of every tenant that has none of its own.")
    tenants: list[Tenant] = Field(min_length=1, description="Who sends what.")
    events: list[Event] = Field([], description="What is done to the server meanwhile.")
    sweep: Sweep | None = Field(None, description="Go through rates; `duration` is that of each.")
    gates: Gates = Field(Gates(), description="What makes a run invalid or failed.")

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        names = [tenant.name for tenant in self.tenants]
        if len(set(names)) != len(names):
            raise ValueError("two tenants have the same name")
        if self.warmup >= self.duration:
            raise ValueError(f"`warmup` ({self.warmup:g}) must be shorter than `duration` ({self.duration:g})")
        if self.sweep and any(isinstance(tenant.arrivals, (Step, Ramp, Trace)) for tenant in self.tenants):
            raise ValueError("a sweep needs arrivals of one rate: poisson, constant or gamma")
        return self

    def slo_of(self, tenant: str) -> Objective:
        """What the tenant's requests must keep."""
        return next((each.slo for each in self.tenants if each.name == tenant and each.slo), self.slo)

    @property
    def needs_capacity(self) -> bool:
        """Whether a rate is told by the capacity."""
        return any(isinstance(rate, str) for tenant in self.tenants for rate in rates(tenant.arrivals))


def rates(arrivals: Arrivals) -> list[float | str]:
    """Every rate that the arrivals name."""
    match arrivals:
        case Step():
            return [level.rate for level in arrivals.levels]
        case Ramp():
            return [arrivals.rate, arrivals.to]
        case Trace():
            return []
        case _:
            return [arrivals.rate]
