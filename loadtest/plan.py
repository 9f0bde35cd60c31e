"""All requests of a scenario, the same for the same seed and nonce however many processes send them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtest import arrivals, prompts, traces
from loadtest.prompts import Pace
from loadtest.record import Shot, Turn
from loadtest.scenario_schema import (
    Even,
    Gamma,
    Poisson,
    Ramp,
    Scenario,
    Step,
    Tenant,
    Trace,
    per_second,
    rates,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a plan needs to know of the server. `keys` are API keys by tenant.

    `nonce` is the run's own: it changes the words of all prompts, but neither their lengths nor their times, so that a
    server does not know a run's prompts from the run before.
    """

    model: str
    pace: Pace = field(default_factory=Pace)
    capacity: float | None = None
    nonce: str = ""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)


def moments(
    tenant: Tenant, seed: int, duration: float, capacity: float | None
) -> Iterator[tuple[float, traces.Row | None]]:
    """When the tenant's requests come, and what is recorded of each if they are a trace's."""
    spec = tenant.arrivals
    end = min(spec.end or duration, duration)
    rng = random.Random(f"{seed}/{tenant.name}/arrivals")
    if isinstance(spec, Trace):
        read = {"azure": traces.azure, "mooncake": traces.mooncake}[spec.format]
        suffix = {"azure": "csv", "mooncake": "jsonl"}[spec.format]
        for row in read(spec.path or traces.SAMPLES / f"{spec.format}.{suffix}", spec.requests):
            at = spec.start + row.at / spec.speed
            if at < end:
                yield at, row
        return
    at_rate = [per_second(rate, capacity) for rate in rates(spec)]
    match spec:
        case Poisson():
            times = arrivals.poisson(at_rate[0], spec.start)
        case Even():
            times = arrivals.constant(at_rate[0], spec.start)
        case Gamma():
            times = arrivals.gamma(at_rate[0], spec.burstiness, spec.start)
        case Ramp():
            times = arrivals.ramp(at_rate[0], at_rate[1], end - spec.start, spec.start)
        case Step():
            levels = [(spec.start + level.at, rate) for level, rate in zip(spec.levels, at_rate, strict=True)]
            times = arrivals.steps(levels)
    for at in times(rng, end):
        yield at, None


def plan(scenario: Scenario, setting: Setting, *, worker: int = 0, workers: int = 1) -> list[Shot]:
    """The requests that one of `workers` processes is to send, in order."""
    found: list[tuple[float, int, int, traces.Row | None]] = []
    for place, tenant in enumerate(scenario.tenants):
        for number, (at, row) in enumerate(moments(tenant, scenario.seed, scenario.duration, setting.capacity)):
            found.append((at, place, number, row))
    found.sort(key=lambda each: each[:3])
    writers = [_Writer(tenant, scenario.seed, setting) for tenant in scenario.tenants]
    return [
        writers[place].shot(order, number, at, row)
        for order, (at, place, number, row) in enumerate(found)
        if order % workers == worker
    ]


class _Writer:
    """Writes one tenant's requests. Everything of a request is drawn from a generator of its own."""

    def __init__(self, tenant: Tenant, seed: int, setting: Setting) -> None:
        self._tenant, self._seed, self._setting = tenant, f"{seed}/{tenant.name}", setting
        self._pace = setting.pace
        self._prefixes: list[str] = []
        if shared := tenant.shared_prefix:
            rng, words = random.Random(f"{self._seed}/prefixes"), self._words("prefixes")
            for _ in range(shared.prefixes):
                self._prefixes.append(prompts.text(words, self._pace.inner_words(shared.tokens.draw(rng))))
        self._said: list[traces.Conversation] = []
        if tenant.sharegpt is not None:
            sample = traces.SAMPLES / "sharegpt.json"
            self._said = traces.sharegpt(sample if tenant.sharegpt == "sample" else tenant.sharegpt)

    def _words(self, what: object) -> random.Random:
        """For what is said; all that is measured is drawn from another one."""
        return random.Random(f"{self._seed}/{self._setting.nonce}/{what}")

    def shot(self, order: int, number: int, at: float, row: traces.Row | None) -> Shot:
        """The tenant's `number`-th request."""
        tenant, rng, words = self._tenant, random.Random(f"{self._seed}/{number}"), self._words(number)
        text, tokens = self._text(rng, words, row)
        body = self._body(rng, words, text, tokens)
        cancels = tenant.cancels
        return Shot(
            at=at,
            body=body,
            tenant=tenant.name,
            headers=self._headers(f"{self._seed}/{number}"),
            number=order,
            retries=tenant.retries,
            cancel_after=cancels.after.draw(rng) if cancels and rng.random() < cancels.share else None,
            deadline=tenant.deadline,
            turns=tuple(self._turns(rng, words)),
        )

    def _headers(self, name: str) -> dict[str, str]:
        tenant = self._tenant
        headers = {"x-request-id": f"loadtest/{name}".replace("/", "-")}
        if key := self._setting.keys.get(tenant.name):
            headers["authorization"] = f"Bearer {key}"
        if tenant.deadline and tenant.deadline_header:
            headers[tenant.deadline_header] = str(round(tenant.deadline * 1000))
        return headers

    def _text(self, rng: random.Random, words: random.Random, row: traces.Row | None) -> tuple[str, int]:
        """What is asked, and how many tokens may answer it."""
        tenant, pace = self._tenant, self._pace
        if row is not None and isinstance(tenant.arrivals, Trace):
            scale = tenant.arrivals.scale
            tokens = max(1, round(row.output * scale))
            size = traces.MOONCAKE_BLOCK
            whole = row.blocks[: row.prompt // size]
            parts = [prompts.block(self._setting.nonce, each, pace.inner_words(size * scale)) for each in whole]
            rest = row.prompt * scale - len(whole) * size * scale
            return " ".join([*parts, prompts.text(words, pace.words(rest))]), tokens
        if self._said:
            said = rng.choice(self._said)
            return said.prompt, max(1, round(said.answer_words * pace.tokens_per_word))
        asked = prompts.text(words, pace.words(tenant.prompt.draw(rng)))
        return asked, max(1, round(tenant.output.draw(rng)))

    def _body(self, rng: random.Random, words: random.Random, text: str, tokens: int) -> dict[str, Any]:
        tenant = self._tenant
        content: Any = text
        body: dict[str, Any] = {"model": self._setting.model, "messages": []}
        shared = tenant.shared_prefix
        if shared and rng.random() < shared.share:
            body["messages"].append({"role": "system", "content": rng.choice(self._prefixes)})
        if tenant.tool_share and rng.random() < tenant.tool_share:
            body["tools"] = [prompts.TOOL]
            content = f"{text} What is the weather in {rng.choice(prompts.CITIES)}?"
        if tenant.image_share and rng.random() < tenant.image_share:
            picture = {"type": "image_url", "image_url": {"url": prompts.image(words, tenant.image_pixels)}}
            content = [{"type": "text", "text": content}, picture]
        body["messages"].append({"role": "user", "content": content})
        body |= {"max_tokens": tokens, "stream": True, "stream_options": {"include_usage": True}}
        if tenant.thinking_share is not None:
            body["chat_template_kwargs"] = {"enable_thinking": rng.random() < tenant.thinking_share}
        if tenant.service_tier is not None:
            body["service_tier"] = tenant.service_tier
        return body | tenant.body

    def _turns(self, rng: random.Random, words: random.Random) -> Iterable[Turn]:
        conversation = self._tenant.conversation
        if conversation is None:
            return
        for _ in range(round(conversation.turns.draw(rng)) - 1):
            said = prompts.text(words, max(1, self._pace.inner_words(conversation.grows.draw(rng))))
            yield Turn(said, conversation.pause.draw(rng), max(1, round(self._tenant.output.draw(rng))))
