"""What holds of the admission policy whatever comes. Each property takes a copy of the code and a random trace, or the
seed of one; what holds between tenants is in `fairness`.
"""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from server.admission.classes import PriorityClass
from tests.unit.admission.traces import BATCH, ENDLESS, INTERACTIVE, STANDARD, Trace, requests, simulation, world


def ends_once(code: SimpleNamespace, trace: Trace) -> None:
    """Every permit is finalised exactly once, and nothing of it is left behind; ending it again changes nothing."""
    sim = simulation(code, trace)
    controller = sim.policy.controller
    tickets = []
    arrive, leave = controller.arrive, controller.leave

    def arriving(now: float, ask: Any) -> Any:
        tickets.append(arrive(now, ask))
        return tickets[-1]

    def leaving(now: float, ticket: Any, *, complete: bool) -> Any:
        ended = leave(now, ticket, complete=complete)
        # The client goes away in the same moment.
        assert not leave(now, ticket, complete=False)
        return ended

    controller.arrive, controller.leave = arriving, leaving
    results = sim.run(ENDLESS, 0.0)
    assert all(each.outcome not in ("", "unfinished") for each in results.attempts)
    assert all(ticket.stage == "ended" for ticket in tickets)
    room = controller.room
    assert (controller.waiting, len(room.running), len(room.stoppable)) == (0, 0, 0)
    assert (room.sequences, room.prefill, room.long_prompts) == (0, {False: 0, True: 0}, 0)
    assert (room.kv_held, room.remaining_output) == (0, 0)
    for queue in controller.queues.values():
        assert (queue.waiting, queue.uncached, queue.output, abs(queue.weight) < 1e-9) == (0, 0, 0, True)
    assert sim.engine.free == sim.engine.size.blocks


def peak(running: list[Any], need: Any) -> int:
    """The most KV tokens at once, found by letting every sequence make its predicted tokens one by one."""
    left = [(need(each), each.remaining_output // each.sequences, each.sequences) for each in running]
    # The peak is where somebody has just made its last one.
    return max(sum(have + at * count for have, remain, count in left if remain >= at) for at in {r for _, r, _ in left})


def keeps_to_limits(code: SimpleNamespace, trace: Trace) -> None:
    """Whoever enters fits under the limits of that moment beside all that run, unless it is alone."""
    # So that some five sequences take longer than they should, of the eight that the engine has.
    sim = simulation(code, trace, itl_seconds=0.0212)
    controller = sim.policy.controller
    room = controller.room
    enter = room.enter

    # What a ticket held when it entered, and had made then, by its number; it grows by a token for each that it makes.
    entered: dict[int, tuple[int, int]] = {}

    def holds(ticket: Any) -> int:
        held, made = entered.get(ticket.id, (room.need(ticket), ticket.made))
        return held + ticket.made - made

    def held(tenant: str) -> int:
        return sum(each.sequences for each in room.running.values() if each.tenant == tenant)

    def fair(tenant: str) -> float:
        lately = {name: weight for name, (_, weight) in controller.shares._tenants.items()}
        return room.sequence_limit * lately.get(tenant, 0.0) / sum(lately.values())

    def entering(ticket: Any) -> None:
        entered.pop(ticket.id, None)
        if room.running:
            others = list(room.running.values())
            running = sum(each.sequences for each in others)
            # One of many answers may enter while half of the limit is free.
            counted = min(ticket.sequences, max(1.0, room.sequence_limit / 2))
            if running + counted > room.sequence_limit:
                # Only within its tenant's own part, or twice that for a while.
                assert ticket.priority is not BATCH
                assert held(ticket.tenant) + ticket.sequences <= 2 * fair(ticket.tenant)
            assert running + ticket.sequences <= controller.size.sequences
            assert peak([*others, ticket], holds) <= room.kv_limit
            lane = sum(each.uncached for each in others if each.prefilling and each.long == ticket.long)
            share = controller.rules.long_share if ticket.long else 1.0
            assert not lane or lane + ticket.uncached <= room.prefill_limit * share
        assert ticket.sequences <= room._size.sequences
        enter(ticket)
        entered[ticket.id] = (room.need(ticket), ticket.made)

    def check(sim: Any) -> None:
        assert room.sequences == sum(each.sequences for each in room.running.values())
        assert room.kv_held == sum(map(holds, room.running.values()))
        assert controller.waiting - controller.reserved == len(list(controller.waiting_tickets()))

    room.enter = entering
    sim._check = check
    sim.run(ENDLESS, 0.0)


def conserves_work(code: SimpleNamespace, trace: Trace) -> None:
    """No idle room while something admissible waits. After each decision, of what waits:

    - where nothing runs, nothing waits;
    - the head of a class does not fit, unless it must wait because another was passed as often or as far as allowed
      (`bypasses`, `bypass_units`), which is the stated slack;
    - batch also waits while anybody above it waits for room.
    """
    sim = simulation(code, trace)
    controller = sim.policy.controller
    decide = controller.decide

    def deciding(now: float) -> Any:
        decisions = decide(now)
        if controller.stale(now):
            return decisions
        waiting = list(controller.waiting_tickets())
        assert controller.room.running or not waiting
        if any(ticket.bypassed for ticket in waiting):
            return decisions
        full = controller.room._full
        for priority, queue in controller.queues.items():
            head = queue.head()
            if priority is BATCH and any(q.waiting for p, q in controller.queues.items() if p is not BATCH):
                continue
            if head is not None:
                assert controller.obstacle(now, head), f"{head.id} fits and waits"
        controller.room._full = full
        return decisions

    controller.decide = deciding
    sim.run(ENDLESS, 0.0)


def ages(code: SimpleNamespace, trace: Trace) -> None:
    """Nothing waits forever: where nothing of a tenant's entered from a class for its `ageing_seconds`, the one that
    waits longest is one class up, or a second after the tenant's one before has gone from there. And nothing waits
    beyond its deadline.
    """
    sim = simulation(code, trace)
    controller = sim.policy.controller
    decide, enter = controller.decide, controller._enter
    due_since: dict[tuple[str, PriorityClass], tuple[int, float]] = {}
    entered: dict[tuple[str, PriorityClass, bool], float] = {}

    def entering(now: float, ticket: Any) -> None:
        entered[ticket.tenant, ticket.priority, ticket.long] = now
        enter(now, ticket)

    def deciding(now: float) -> Any:
        decisions = decide(now)
        waiting = list(controller.waiting_tickets())
        promoted = {(each.tenant, each.priority) for each in waiting if each.priority is not each.ask.priority}
        for priority, above in ((STANDARD, INTERACTIVE), (BATCH, STANDARD)):
            bound = controller.rules.classes[priority].ageing_seconds
            for tenant, line in controller.queues[priority].items():
                since = [
                    (max(head.queued, entered.get((tenant, priority, long), 0.0)), head.id)
                    for long in (False, True)
                    if (head := line.head(long)) is not None
                ]
                if not since or now - min(since)[0] <= bound or (tenant, above) in promoted:
                    due_since.pop((tenant, priority), None)
                    continue
                first = min(since)[1]
                who, due = due_since.get((tenant, priority), (0, now))
                due = due if who == first else now
                due_since[tenant, priority] = first, due
                assert now - due <= 1.0 + 1e-6
        for each in waiting:
            assert each.queue_deadline is None or now < each.queue_deadline
        return decisions

    controller.decide, controller._enter = deciding, entering
    sim.run(ENDLESS, 0.0)


def bounds_bypass(code: SimpleNamespace, seed: int) -> None:
    """A request that is its class's next and does not fit is passed by at most `bypasses` others; new tenants, whose
    counters are lifted to its own, do not go before it for ever.
    """
    rng = random.Random(seed)
    trace = Trace(seed, blocks=100)
    classes = dict.fromkeys(PriorityClass, code.parameters.ClassRules(ttft_seconds=None))
    setting = world(
        code, trace, classes=classes, max_waiting=10_000, static_waiting=10_000, bypasses=3, long_tokens=5000
    )
    found = [code.workload.Request(1.0, "big", 1100, 10, max_tokens=32)]
    for n in range(400):
        tenant = f"t{n:03}" if seed % 2 else f"t{n % 5}"
        found.append(code.workload.Request(rng.uniform(0, 20), tenant, rng.randint(20, 120), 30, max_tokens=32))
    sim = code.run.Simulation(setting, sorted(found, key=lambda each: each.at), "ours")
    controller = sim.policy.controller
    passed, newer = [0], [0]
    enter = controller._enter

    def entering(now: float, ticket: Any) -> None:
        head = controller.queues[INTERACTIVE].head()
        if head is not None and head.tenant == "big" and head is not ticket:
            passed[0] += 1
            assert passed[0] <= controller.rules.bypasses
        big = [each for each in controller.waiting_tickets() if each.tenant == "big"]
        if seed % 2 and big and ticket.arrived > big[0].arrived:
            newer[0] += 1
            assert newer[0] <= controller.rules.bypasses
        enter(now, ticket)

    controller._enter = entering
    results = sim.run(60.0, 0.0)
    assert all(each.outcome == "complete" for each in results.attempts if each.request.tenant == "big")


def refused_part(code: SimpleNamespace, seed: int, load: float) -> float:
    """The part of a trace that is refused when it comes `load` times as fast."""
    trace = Trace(seed, count=400, seconds=60.0 / load, cancels=0.0, blocks=400)
    short = [
        replace(each, priority=INTERACTIVE, answers=1, prompt=min(each.prompt, 400)) for each in requests(code, trace)
    ]
    results = code.run.simulate(replace(world(code, trace), warm=True), short, "ours", 60.0, 60.0)
    return code.report.refused(results.attempts)
