"""What holds of the admission policy whatever comes. Each property takes a copy of the code and a random trace.

The traces run through the simulated engine: chunked prefill, preemption, statistics that lag, cancels, priorities,
several answers of one prompt and prompts that are mostly cached.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from server.admission.classes import PriorityClass
from server.generation.engine_state import EngineSize

INTERACTIVE, STANDARD, BATCH = PriorityClass
INPUT_WEIGHT, OUTPUT_WEIGHT = 1.0, 2.0
_ENDLESS = 3000.0


@dataclass(frozen=True)
class Trace:
    """A random trace by its seed, and what it runs on."""

    seed: int
    count: int = 60
    tenants: int = 4
    seconds: float = 10.0
    cancels: float = 0.2
    lag: int = 1
    blocks: int = 150
    come_back: float = 0.0
    ageing: float = 2.0


def world(code: SimpleNamespace, trace: Trace, **rules: Any) -> Any:
    """A small engine, on which everything runs out."""
    parameters = code.parameters
    size = EngineSize(
        sequences=8, step_tokens=256, blocks=trace.blocks, block_tokens=16, constant_blocks=2, max_model_len=4096
    )
    classes = {
        INTERACTIVE: parameters.ClassRules(ttft_seconds=10.0, total_seconds=60.0),
        STANDARD: parameters.ClassRules(ttft_seconds=30.0, share=0.95, ageing_seconds=trace.ageing),
        BATCH: parameters.ClassRules(ttft_seconds=600.0, share=0.8, ageing_seconds=4 * trace.ageing),
    }
    chosen = parameters.Rules(
        **{"classes": classes, "long_tokens": 600, "max_waiting": 40, "prefill_seconds": 0.2, **rules}
    )
    return code.run.World(
        size, code.engine_model.StepCosts(0.02, 2e-4, 1e-6), chosen, lag_steps=trace.lag, seed=trace.seed,
        come_back=trace.come_back, warm=trace.seed % 2 == 0,
    )  # fmt: skip


def requests(code: SimpleNamespace, trace: Trace) -> list[Any]:
    """The trace's requests; some can never fit."""
    rng = random.Random(trace.seed)
    found = []
    for _ in range(trace.count):
        kind = rng.random()
        prompt = rng.randint(600, 2600) if kind < 0.1 else rng.randint(1, 400)
        most = rng.choice((16, 64, 200))
        found.append(
            code.workload.Request(
                at=rng.uniform(0, trace.seconds),
                tenant=f"t{rng.randrange(trace.tenants)}",
                prompt=prompt,
                output=rng.randint(1, most),
                weight=1.0,
                priority=rng.choice((INTERACTIVE, INTERACTIVE, STANDARD, BATCH)),
                max_tokens=most,
                answers=rng.choice((1, 1, 1, 1, 3)),
                prefix=tuple(range(prompt // 512)) if rng.random() < 0.3 else (),
                cancel_after=rng.uniform(0, 8) if rng.random() < trace.cancels else None,
            )
        )
    return sorted(found, key=lambda each: each.at)


def simulation(code: SimpleNamespace, trace: Trace, check: Any = None, **rules: Any) -> Any:
    """The trace, ready to run."""
    return code.run.Simulation(world(code, trace, **rules), requests(code, trace), "ours", check)


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
    results = sim.run(_ENDLESS, 0.0)
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
                # Only within its tenant's own part, so by no more than what others have beyond theirs.
                assert ticket.priority is not BATCH
                assert held(ticket.tenant) + ticket.sequences <= fair(ticket.tenant)
                beyond = sum(max(0.0, held(tenant) - fair(tenant)) for tenant in {each.tenant for each in others})
                assert running + ticket.sequences <= room.sequence_limit + beyond + 1e-9
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
    sim.run(_ENDLESS, 0.0)


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
    sim.run(_ENDLESS, 0.0)


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
    sim.run(_ENDLESS, 0.0)


def shares_by_weight_however_long_they_wait(code: SimpleNamespace, seed: int) -> None:
    """Ageing is for who is not served: tenants of one class that always have something waiting, for longer than its
    `ageing_seconds`, are served by their weights all the same, within a tenth.
    """
    rng = random.Random(seed)
    size = EngineSize(
        sequences=24, step_tokens=2048, blocks=4000, block_tokens=16, constant_blocks=2, max_model_len=4096
    )
    weights = {"one": 1.0, "two": 2.0, "three": 3.0}
    classes = dict.fromkeys(PriorityClass, code.parameters.ClassRules(ttft_seconds=None, ageing_seconds=1.0))
    rules = code.parameters.Rules(classes=classes, itl_seconds=10.0, max_waiting=10_000, static_waiting=10_000)
    setting = code.run.World(size, code.engine_model.StepCosts(0.02, 2e-4, 0.0), rules, seed=seed)
    found = [
        code.workload.Request(0.0, tenant, rng.randint(20, 80), rng.randint(10, 40), weight, STANDARD, max_tokens=40)
        for tenant, weight in weights.items()
        for _ in range(900)
    ]
    results = code.run.Simulation(setting, found, "ours").run(40.0, 0.0)
    served = code.report.shares(results, 5.0, 40.0)
    whole = sum(served.values())
    for tenant, weight in weights.items():
        assert abs(served[tenant] / whole / (weight / 6) - 1) < 0.1, served


def shares_fairly(
    code: SimpleNamespace, seed: int, cancels: float = 0.0, small: bool = False, tenant_share: float = 1.0
) -> None:
    """VTC's bound. W counts w_p for a prompt token to compute when its request enters, w_q for each output token. For
    two tenants that always have something waiting, between any two moments of that time,

        |dW_f / weight_f - dW_g / weight_g|
            <= 2 max(w_p L, w_q M)                   the paper's, L a prompt and M the output tokens of what runs
             + 2 w_q M                               counters are charged what is predicted and put right later
             + 2 (bypass_units + w_p L + w_q P)      who may be passed, and by one request of P output tokens more

    A tenant that was away gains nothing by it: the bound holds from the moment it is back. The counters alone must see
    to that, so `tenant_share` is 1 unless said otherwise: what is kept for the others would hide a broken rule.
    """
    prompt, output, sequences = 300, 60, 8
    rng = random.Random(seed)
    trace = Trace(seed, blocks=90 if small else 400)
    free = code.parameters.ClassRules(ttft_seconds=None)
    classes = dict.fromkeys(PriorityClass, free)
    setting = world(
        code, trace, classes=classes, max_waiting=10_000, bypass_units=600.0, look_ahead=2, static_waiting=10_000,
        tenant_share=tenant_share,
    )  # fmt: skip
    found = []
    for tenant, count, at in (("f", 160, 0.0), ("g", 160, 0.0), ("sleeper", 4, 0.0), ("sleeper", 110, 12.0)):
        longest = rng.choice((prompt // 4, prompt))
        for _ in range(count):
            found.append(
                code.workload.Request(
                    at,
                    tenant,
                    rng.randint(20, longest),
                    rng.randint(5, output),
                    max_tokens=output,
                    cancel_after=rng.uniform(0, 30) if rng.random() < cancels else None,
                )
            )
    sim = code.run.Simulation(setting, found, "ours")
    controller = sim.policy.controller
    tickets: dict[int, Any] = {}
    enter = controller.room.enter

    def entering(ticket: Any) -> None:
        tickets[ticket.id] = (ticket, ticket.uncached)
        enter(ticket)

    controller.room.enter = entering
    lines = controller.queues[INTERACTIVE]
    bound = 2 * max(INPUT_WEIGHT * prompt, OUTPUT_WEIGHT * sequences * output) + 2 * OUTPUT_WEIGHT * sequences * output
    bound += 2 * (600.0 + INPUT_WEIGHT * prompt + OUTPUT_WEIGHT * output)
    spread: dict[tuple[str, str], tuple[float, float] | None] = {}
    arrived = [0]

    def check(sim: Any) -> None:
        if sim.events.now == arrived[0]:
            return
        arrived[0] = sim.events.now
        served: dict[str, float] = {}
        for ticket, uncached in tickets.values():
            served[ticket.tenant] = served.get(ticket.tenant, 0.0) + uncached + OUTPUT_WEIGHT * ticket.made
        backlogged = {tenant for tenant, line in lines.items() if line.waiting}
        for pair in itertools.combinations(("f", "g", "sleeper"), 2):
            if not backlogged.issuperset(pair):
                spread[pair] = None
                continue
            ahead = served.get(pair[0], 0.0) - served.get(pair[1], 0.0)
            low, high = spread.get(pair) or (ahead, ahead)
            spread[pair] = (min(low, ahead), max(high, ahead))
            assert max(high, ahead) - min(low, ahead) <= bound, f"{pair} at {sim.events.now:.1f} s"

    sim._check = check
    sim.run(120.0, 0.0)


def serves_a_quiet_tenant(code: SimpleNamespace, seed: int) -> None:
    """While others want more than there is, a tenant with one request at a time enters at once from its second on: once
    it has been seen, something is kept for it. In an engine of 20 sequences that two others have filled.
    """
    rng = random.Random(seed)
    size = EngineSize(
        sequences=20, step_tokens=2048, blocks=4000, block_tokens=16, constant_blocks=2, max_model_len=4096
    )
    rules = code.parameters.Rules(itl_seconds=10.0)
    setting = code.run.World(size, code.engine_model.StepCosts(0.02, 2e-5, 0.0), rules, seed=seed, warm=True)
    found = [
        code.workload.Request(rng.uniform(0, 10), rng.choice(("flood", "other")), 30, 60, max_tokens=60)
        for _ in range(600)
    ]
    found += [code.workload.Request(4.0 + n, "quiet", 30, 10, max_tokens=10) for n in range(10)]
    sim = code.run.Simulation(setting, sorted(found, key=lambda each: each.at), "ours")
    controller = sim.policy.controller
    enter, waits = controller._enter, []

    def entering(now: float, ticket: Any) -> None:
        if ticket.tenant == "quiet":
            waits.append(now - ticket.arrived)
        enter(now, ticket)

    controller._enter = entering
    sim.run(30.0, 0.0)
    assert len(waits) == 10
    assert max(waits[1:]) < 0.01, waits


def gives_each_its_own_part(code: SimpleNamespace, seed: int) -> None:
    """A tenant that stays within its fair part of the limit on sequences enters at once, even while more run than the
    limit allows, since the engine has just become slower.
    """
    rng = random.Random(seed)
    size = EngineSize(
        sequences=256, step_tokens=2048, blocks=8000, block_tokens=16, constant_blocks=2, max_model_len=4096
    )
    costs = code.engine_model.StepCosts(0.005, 2e-4, 0.0)
    rules = code.parameters.Rules(itl_seconds=0.015)
    setting = code.run.World(size, costs, rules, seed=seed, warm=True, speed=lambda now: 1.0 if now < 10.0 else 1.8)
    found = [
        code.workload.Request(rng.uniform(0, 20), rng.choice(("flood", "other")), 100, 300, max_tokens=300)
        for _ in range(1000)
    ]
    found += [code.workload.Request(5.0 + n / 5, "quiet", 30, 10, max_tokens=10) for n in range(75)]
    sim = code.run.Simulation(setting, sorted(found, key=lambda each: each.at), "ours")
    over = []

    def check(sim: Any) -> None:
        room = sim.policy.controller.room
        over.append(room.sequences > room.sequence_limit)

    sim._check = check
    quiet = [each for each in sim.run(20.0, 0.0).attempts if each.request.tenant == "quiet"]
    assert any(over)
    waits = [each.admitted - each.request.at for each in quiet[1:]]
    assert max(waits) < 0.01, waits


def paces_floods(code: SimpleNamespace) -> None:
    """Prompts of who is beyond its part enter as far as a step stays short enough; where nobody else is, all do."""
    size = EngineSize(
        sequences=1000, step_tokens=8192, blocks=10**5, block_tokens=16, constant_blocks=2, max_model_len=4096
    )
    costs, rules = code.engine_model.StepCosts(0.01, 1e-4), code.parameters.Rules(itl_seconds=0.05)
    for others in (1, 0):
        policy = code.controller.Controller(size, rules, prior=costs)
        policy.room.sequence_limit = 100.0
        for ticket in enter(code, policy, "other", others) + enter(code, policy, "flood", 60):
            policy.decide(0.0)
            policy.made(0.0, ticket, 1, 0)
        prompts = enter(code, policy, "flood", 10, prompt=200)
        # Some 9,800 tokens a second for 0.05 s.
        assert policy.decide(0.0).admit == (prompts[:2] if others else prompts)


def enter(code: SimpleNamespace, policy: Any, tenant: str, count: int, prompt: int = 10) -> list[Any]:
    """So many requests of a tenant, which wait."""
    found = []
    for _ in range(count):
        ask = code.ticket.Ask(tenant, 1.0, INTERACTIVE, prompt_tokens=prompt, max_tokens=10)
        found.append(policy.arrive(0.0, ask))
        policy.price(0.0, found[-1], code.ticket.Cost(prompt, 0, 10))
    return found


def passes_floods(code: SimpleNamespace) -> None:
    """A flood's next request stops no other tenant, however many pass it: neither where it only has to leave something
    for others, nor where the others take what is their own part.
    """
    size = EngineSize(
        sequences=1000, step_tokens=8192, blocks=10**5, block_tokens=16, constant_blocks=2, max_model_len=4096
    )
    policy = code.controller.Controller(size, code.parameters.Rules(itl_seconds=100.0))
    policy.room.sequence_limit = 1000.0

    running = enter(code, policy, "other", 1) + enter(code, policy, "flood", 240) + enter(code, policy, "quiet", 133)
    assert len(policy.decide(0.0).admit) == len(running)
    policy.room.sequence_limit = 400.0
    (held_back,) = enter(code, policy, "flood", 1)
    # A third of 400 is used up, so that none of these takes the quiet tenant's own part.
    passing = enter(code, policy, "quiet", 12)
    assert policy.decide(0.0).admit == passing
    assert held_back.why == "reserved for others"
    policy.room.sequence_limit = 300.0
    passing = enter(code, policy, "other", 12)
    assert policy.decide(0.0).admit == passing
    assert held_back.why == "sequences"


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
