"""The asyncio driver around the real policy; the engine is played by hand, for what happens is between the two."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.admission.classes import PriorityClass
from server.admission.desk import AdmissionPermit, Desk
from server.admission.gate import Gate
from server.admission.policy.parameters import ClassRules, Rules
from server.admission.policy.ticket import Ask
from server.admission.quota_memory import MemoryStore
from server.admission.quotas import Quotas
from server.admission.rate_limited import RateLimited
from server.admission.refusals import Refused, TooLarge
from server.admission.tenants import Caller, Quota, Tenant
from server.generation.engine_state import EngineReport, EngineSize
from server.generation.errors import Interrupted
from server.generation.ports import Price, Prompt

SIZE = EngineSize(sequences=2, step_tokens=2048, blocks=100, block_tokens=256, constant_blocks=6, max_model_len=8192)
CALLER = Caller(Tenant("t", max_class=PriorityClass.INTERACTIVE))


class House:
    """A desk whose clock stands still unless it is moved."""

    def __init__(self, size: EngineSize = SIZE, **settings: Any) -> None:
        self.now = 0.0
        self.outcomes: list[str] = []
        self.desk = Desk(Gate(lambda count: None, self.outcomes.append), Quotas(MemoryStore()), clock=lambda: self.now)
        classes = {each: ClassRules(ttft_seconds=None, ageing_seconds=100.0) for each in PriorityClass}
        self.desk.open(size, Rules(**{"classes": classes, **settings}))

    async def reserved(self, caller: Caller = CALLER, **fields: Any) -> AdmissionPermit:
        permit = self.desk.enter()
        given = {"priority": PriorityClass.STANDARD, "prompt_tokens": 100, "max_tokens": 50, **fields}
        await permit.reserve(caller, Ask(tenant=caller.tenant.name, weight=1.0, **given), bounded=True)
        return permit

    async def running(self, **fields: Any) -> AdmissionPermit:
        permit = await self.reserved(**fields)
        await permit.admitted(price(max_tokens=fields.get("max_tokens", 50)))
        return permit


def price(tokens: int = 100, *, resumable: bool = False, max_tokens: int = 50) -> Price:
    return Price(Prompt(None, tokens, thinking=False, token_ids=[7] * tokens), max_tokens, resumable)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_third_waits_until_one_of_two_leaves() -> None:
    house = House()
    first, _ = await house.running(), await house.running()
    third = await house.reserved()
    waiting = asyncio.create_task(third.admitted(price()))
    await settle()
    assert not waiting.done()
    first.end("stop")
    await asyncio.wait_for(waiting, 1)
    third.end("stop")
    assert house.outcomes == ["stop", "stop"]


async def test_a_permit_ends_once_and_frees_its_place_once() -> None:
    house = House()
    permit = await house.running()
    permit.end("stop")
    permit.end("client_gone")
    assert house.outcomes == ["stop"]
    assert house.desk.controller is not None
    assert house.desk.controller.room.sequences == 0


async def test_who_goes_away_while_waiting_leaves_the_queue() -> None:
    house = House()
    await house.running(), await house.running()
    third = await house.reserved()
    waiting = asyncio.create_task(third.admitted(price()))
    await settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    third.end("client_gone")
    assert house.desk.controller is not None
    assert house.desk.controller.waiting == 0


async def test_a_drain_deadline_reaches_who_waits() -> None:
    house = House()
    await house.running(), await house.running()
    third = await house.reserved()
    waiting = asyncio.create_task(third.admitted(price()))
    await settle()
    assert house.desk.gate.interrupt_all(Interrupted("over")) == 3
    with pytest.raises(Interrupted):
        await asyncio.wait_for(waiting, 1)


async def test_time_up_in_the_queue_is_told_with_when_to_come_back() -> None:
    house = House()
    await house.running(), await house.running()
    third = await house.reserved(ttft_seconds=20.0)
    waiting = asyncio.create_task(third.admitted(price()))
    await settle()
    house.now = 30.0
    house.desk.poke()
    with pytest.raises(Refused) as refused:
        await asyncio.wait_for(waiting, 1)
    assert refused.value.outcome == "evicted_deadline_exceeded"
    assert refused.value.retry_after is not None
    assert 1 <= refused.value.retry_after <= 60


async def test_time_up_in_the_queue_is_noticed_without_anything_else_happening() -> None:
    house = House()
    loop = asyncio.get_running_loop()
    house.desk.clock = loop.time
    # Answers so short that a place is expected soon, which then never comes.
    await house.running(max_tokens=1), await house.running(max_tokens=1)
    third = await house.reserved(ttft_seconds=0.3, max_tokens=1)
    with pytest.raises(Refused):
        await asyncio.wait_for(third.admitted(price()), 2)


async def test_what_can_never_fit_is_the_clients_fault() -> None:
    house = House()
    permit = await house.reserved()
    with pytest.raises(TooLarge) as refused:
        await permit.admitted(price(20_000, max_tokens=30_000))
    assert (refused.value.status, refused.value.param, refused.value.retry_after) == (400, "max_tokens", None)


async def test_overload_has_the_status_that_the_operator_chose() -> None:
    house = House(max_waiting=1)
    house.desk.overload_status = 429
    await house.running(), await house.running()
    third = await house.reserved()
    waiting = asyncio.create_task(third.admitted(price()))
    await settle()
    with pytest.raises(Refused) as refused:
        await house.reserved()
    assert (refused.value.status, refused.value.code) == (429, "overloaded")
    waiting.cancel()


async def test_a_refusal_for_overload_costs_no_quota() -> None:
    house = House(max_waiting=1)
    tenant = Caller(Tenant("q", quota=Quota(requests_per_minute=60, burst=60)))
    await house.running(), await house.running()
    third = await house.reserved()
    waiting = asyncio.create_task(third.admitted(price()))
    await settle()
    left = "x-ratelimit-remaining-requests"
    before = house.desk.quotas.headers(tenant)[left]
    with pytest.raises(Refused):
        await house.reserved(tenant)
    assert house.desk.quotas.headers(tenant)[left] == before
    waiting.cancel()


async def test_neither_does_one_after_rendering() -> None:
    house = House()
    caller = Caller(Tenant("q", quota=Quota(requests_per_minute=60, burst=60)))
    permit = await house.reserved(caller)
    with pytest.raises(TooLarge) as refused:
        await permit.admitted(price(20_000, max_tokens=30_000))
    permit.end(refused.value.outcome)
    await settle()
    assert house.desk.quotas.headers(caller)["x-ratelimit-remaining-requests"] == "60"


async def test_only_batch_may_be_stopped() -> None:
    house = House()
    assert not (await house.reserved()).may_stop
    assert (await house.reserved(priority=PriorityClass.BATCH)).may_stop


async def test_a_used_up_quota_never_reaches_the_queue() -> None:
    house = House()
    tenant = Caller(Tenant("q", quota=Quota(concurrent_requests=1)))
    permit = await house.reserved(tenant)
    with pytest.raises(RateLimited):
        await house.reserved(tenant)
    assert house.desk.controller is not None
    assert house.desk.controller.waiting == 1
    permit.end("client_gone")
    await settle()
    (await house.reserved(tenant)).end("client_gone")


async def test_what_was_reserved_and_not_used_is_given_back() -> None:
    house = House()
    caller = Caller(Tenant("q", quota=Quota(tokens_per_minute=10_000, burst=60)))
    permit = await house.reserved(caller, prompt_tokens=1000, max_tokens=4000)
    left = int(house.desk.quotas.headers(caller)["x-ratelimit-remaining-tokens"])
    assert left == 5000
    await permit.admitted(price(100))
    permit.made(30, 0)
    permit.end("stop")
    await settle()
    assert int(house.desk.quotas.headers(caller)["x-ratelimit-remaining-tokens"]) >= 10_000 - 130 - 1


async def test_batch_gives_way_to_who_waits_and_goes_on_after() -> None:
    house = House()
    batch = await house.reserved(priority=PriorityClass.BATCH)
    await batch.admitted(price(resumable=True))
    other = await house.running(priority=PriorityClass.INTERACTIVE)
    stops: list[bool] = []
    batch.on_stop(lambda: stops.append(True))
    batch.made(5, 0)
    urgent = await house.reserved(priority=PriorityClass.INTERACTIVE)
    waiting = asyncio.create_task(urgent.admitted(price()))
    await settle()
    assert stops == [True]
    back = asyncio.create_task(batch.readmitted(price(105).prompt))
    await asyncio.wait_for(waiting, 1)
    assert not back.done()
    urgent.end("stop")
    await asyncio.wait_for(back, 1)
    batch.end("stop")
    other.end("stop")
    assert house.desk.controller is not None
    assert house.desk.controller.room.sequences == 0


async def test_an_engine_that_is_quiet_lets_nobody_in_until_it_speaks() -> None:
    house = House(stale_seconds=5.0)
    await house.running()
    house.now = 6.0
    second = await house.reserved()
    waiting = asyncio.create_task(second.admitted(price()))
    await settle()
    assert not waiting.done()
    house.desk.observe(EngineReport(0.1, 100, 1, 1, 0, 0.1))
    await asyncio.wait_for(waiting, 1)


async def test_without_admission_everyone_goes_straight_through() -> None:
    desk = Desk(Gate(lambda count: None, lambda outcome: None), Quotas(MemoryStore()), enabled=False)
    desk.open(SIZE, Rules())
    for _ in range(10):
        permit = desk.enter()
        await permit.reserve(CALLER, Ask("t", 1.0, PriorityClass.STANDARD, 100, 50), bounded=True)
        await asyncio.wait_for(permit.admitted(price()), 1)
        permit.made(1, 0)


async def test_tokens_told_by_eights_are_all_told_when_a_request_leaves_or_is_stopped() -> None:
    house = House()
    leaving = await house.running()
    ticket = leaving._ticket
    assert ticket is not None
    for _ in range(13):
        leaving.made(1, 0)
    assert ticket.made == 9, "the first at once, then eight"
    leaving.end("stop")
    assert ticket.made == 13
    stopped = await house.reserved(priority=PriorityClass.BATCH)
    await stopped.admitted(price(resumable=True))
    stopped.made(1, 0)
    stopped.made(3, 0)
    ticket = stopped._ticket
    assert ticket is not None
    back = asyncio.create_task(stopped.readmitted(price(104).prompt))
    await settle()
    assert ticket.made == 4
    back.cancel()


async def test_who_is_stopped_before_its_first_token_has_made_none() -> None:
    house = House()
    permit = await house.reserved(priority=PriorityClass.BATCH)
    await permit.admitted(price(resumable=True))
    ticket = permit._ticket
    assert ticket is not None
    assert ticket.prefilling
    back = asyncio.create_task(permit.readmitted(price().prompt))
    await settle()
    assert ticket.prefilling
    back.cancel()
