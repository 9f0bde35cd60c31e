from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from server.admission.quota_memory import MemoryStore
from server.admission.quotas import Quotas
from server.admission.rate_limited import RateLimited
from server.admission.tenants import Caller, Quota, Tenant
from server.api.metering import estimate, metered
from server.generation.conversation import Conversation, ImagePart, Message, TextPart
from server.generation.generation import Usage

CALLER = Caller(Tenant("ada", quota=Quota(tokens_per_minute=1000, concurrent_requests=1)))


class Permit:
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def on_interrupt(self, interrupt: object) -> None:
        self.interrupt = interrupt

    def end(self, outcome: str) -> None:
        self.outcomes.append(outcome)


def said(content: object, **fields: object) -> Conversation:
    return Conversation(messages=(Message("user", content),), **fields)


@pytest.mark.parametrize(
    ("conversation", "tokens"),
    [
        (said("x" * 40), 10 + 100),
        (said("x" * 40, max_tokens=7, answers=3), 10 + 21),
        (said("ä" * 40, max_tokens=1), 20 + 1),
        (said((TextPart("x" * 40), ImagePart("data:" + "x" * 10**6, "messages"))), 10 + 1024 + 100),
    ],
)
def test_an_estimate_counts_text_images_and_answers(conversation: Conversation, tokens: int) -> None:
    assert estimate(conversation, 100) == tokens


async def tokens_used(quotas: Quotas) -> list[float]:
    await asyncio.sleep(0)
    return [standing.used for rule, standing in await quotas.usage(CALLER) if rule.kind != "share"]


async def test_the_permits_end_settles_what_was_used_once() -> None:
    quotas, permit = Quotas(MemoryStore()), Permit()
    meter = await metered(permit, quotas, CALLER, said("x" * 40, max_tokens=500), 1)
    assert await tokens_used(quotas) == [510, 1]
    meter.measure(SimpleNamespace(usage=Usage(prompt=12, completion=30)))
    meter.end("stop")
    meter.end("client_gone")
    assert permit.outcomes == ["stop"]
    assert await tokens_used(quotas) == [42, 0]


async def test_a_request_that_never_started_used_nothing() -> None:
    quotas, permit = Quotas(MemoryStore()), Permit()
    (await metered(permit, quotas, CALLER, said("x"), 500)).end("invalid_request")
    assert await tokens_used(quotas) == [0, 0]


async def test_a_refusal_leaves_the_permit_to_its_owner() -> None:
    quotas, permit = Quotas(MemoryStore()), Permit()
    await metered(permit, quotas, CALLER, said("x"), 5)
    with pytest.raises(RateLimited):
        await metered(permit, quotas, CALLER, said("x"), 5)
    assert permit.outcomes == []
