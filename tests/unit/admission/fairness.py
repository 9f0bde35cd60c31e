"""What holds of the admission policy between tenants. Each property takes a copy of the code."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace
from typing import Any

from server.admission.classes import PriorityClass
from server.generation.engine_state import EngineSize
from tests.unit.admission.traces import INTERACTIVE, STANDARD, Trace, world

INPUT_WEIGHT, OUTPUT_WEIGHT = 1.0, 2.0


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
    assert all(each.admitted is not None for each in quiet)
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
        for ticket in enter(code, policy, "other", others) + enter(code, policy, "flood", 79):
            policy.decide(0.0)
            policy.made(0.0, ticket, 1, 0)
        policy.shares._held.update(flood=79.0)  # for long enough
        prompts = enter(code, policy, "flood", 10, prompt=200)
        # Some 9,800 tokens a second for 0.05 s.
        assert policy.decide(0.0).admit == (prompts[:2] if others else prompts)


def lets_only_the_modest_burst(code: SimpleNamespace) -> None:
    """Who has held little of late may hold twice its part for a while, beyond the limit; who has held much may not."""
    size = EngineSize(
        sequences=1000, step_tokens=8192, blocks=10**5, block_tokens=16, constant_blocks=2, max_model_len=4096
    )
    policy = code.controller.Controller(size, code.parameters.Rules(itl_seconds=100.0, stale_seconds=1e9))
    policy.room.sequence_limit = 100.0
    enter(code, policy, "greedy", 50), enter(code, policy, "modest", 10)
    assert len(policy.decide(0.0).admit) == 60
    policy.room.sequence_limit = 60.0
    for second in range(1, 20):
        for tenant in ("greedy", "modest"):
            (ticket,) = enter(code, policy, tenant, 1, now=float(second))
            policy.leave(float(second), ticket, complete=False)
    (too_much,) = enter(code, policy, "greedy", 1, now=20.0)
    burst = enter(code, policy, "modest", 40, now=20.0)
    assert policy.decide(20.0).admit == burst
    assert too_much.why == "sequences"


def enter(code: SimpleNamespace, policy: Any, tenant: str, count: int, prompt: int = 10, now: float = 0.0) -> list[Any]:
    """So many requests of a tenant, which wait."""
    found = []
    for _ in range(count):
        ask = code.ticket.Ask(tenant, 1.0, INTERACTIVE, prompt_tokens=prompt, max_tokens=10)
        found.append(policy.arrive(now, ask))
        policy.price(now, found[-1], code.ticket.Cost(prompt, 0, 10))
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
    policy.shares._held.update(flood=240.0, quiet=133.0)  # for long enough
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
