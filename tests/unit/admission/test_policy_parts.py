"""The parts of the policy one by one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from server.admission.classes import PriorityClass
from server.admission.measures import show
from server.admission.policy.appointments import Appointments
from server.admission.policy.controller import Controller
from server.admission.policy.engine_model import EngineModel, StepCosts
from server.admission.policy.fair_queue import FairQueue
from server.admission.policy.output_lengths import OutputLengths
from server.admission.policy.parameters import ClassRules, Rules
from server.admission.policy.peak_kv import PeakKv
from server.admission.policy.prefix_index import PrefixIndex, prefix_chain
from server.admission.policy.ticket import Ask, Cost, Stage, Ticket
from server.admission.refusals import Reason, Refused, TooLarge
from server.generation.engine_state import EngineReport, EngineSize

SIZE = EngineSize(sequences=4, step_tokens=256, blocks=200, block_tokens=16, constant_blocks=2, max_model_len=4096)
INTERACTIVE, STANDARD, BATCH = PriorityClass


def ask(tenant: str = "a", **values) -> Ask:
    return Ask(
        **{"tenant": tenant, "weight": 1.0, "priority": INTERACTIVE, "prompt_tokens": 50, "max_tokens": 20} | values
    )


def controller(**rules) -> Controller:
    return Controller(SIZE, Rules(**rules), prior=StepCosts(0.02, 2e-4))


def enter(policy: Controller, now: float, asked: Ask, *, resumable: bool = False, cached: int = 0) -> Ticket:
    ticket = policy.arrive(now, asked)
    policy.price(now, ticket, Cost(asked.prompt_tokens, cached, asked.max_tokens, resumable=resumable))
    return ticket


# Forecast


def test_the_backlog_told_is_of_what_waits_and_nothing_else() -> None:
    """What runs is no queue; what waits costs its prompts and answers, in seconds."""

    def told() -> float:
        value = REGISTRY.get_sample_value("qwend_admission_backlog_seconds")
        assert value is not None
        return value

    policy = controller()
    show(policy)
    assert told() == 0.0
    seen = []
    for _ in range(24):
        enter(policy, 0.0, ask(max_tokens=200, priority=BATCH))
        policy.decide(0.0)
        seen.append((sum(queue.waiting for queue in policy.queues.values()), told()))
    waiting = [number for number, _ in seen]
    assert waiting[0] == 0
    assert waiting[-1] > 4
    assert all((number == 0) == (seconds == 0.0) for number, seconds in seen)
    longest = [seconds for number, seconds in seen if number]
    assert longest == sorted(longest)
    assert 1 < longest[-1] < 200


def test_a_burst_at_an_idle_engine_is_expected_to_share_its_steps() -> None:
    """One after another the answers would take 80 s; 16 at a time, as many as a new engine runs, they take 5.

    When the others are priced only the first of them runs, so that what runs says nothing of how many will.
    """
    size = replace(SIZE, sequences=64, blocks=100_000)
    policy = Controller(size, Rules(), prior=StepCosts(0.01, 1e-6))
    first, *others = [policy.arrive(0.0, ask(max_tokens=250)) for _ in range(32)]
    policy.price(0.0, first, Cost(50, 0, 250))
    assert policy.decide(0.0).admit == [first]
    for ticket in others:
        policy.price(0.0, ticket, Cost(50, 0, 250))
    assert 1.0 < max(ticket.predicted_ttft for ticket in others) < 10.0


# Peak KV

RUNNING = st.lists(st.tuples(st.integers(1, 500), st.integers(0, 60), st.integers(1, 3)), max_size=8)


@settings(max_examples=150, deadline=None)
@given(RUNNING, st.tuples(st.integers(1, 500), st.integers(0, 60), st.integers(1, 3)), st.data())
def test_the_peak_is_that_of_playing_it_through(running, new, data) -> None:
    peak_kv, slots = PeakKv(4), {}
    for owner, (have, remain, count) in enumerate(running):
        slots[owner] = peak_kv.add(owner, have, remain, count)
    peak_kv.peak(*new)  # what was asked before must not be answered again when something has changed
    for owner in data.draw(st.sets(st.sampled_from(sorted(slots)))) if slots else ():
        moved = peak_kv.remove(slots[owner])
        if moved is not None:
            slots[moved] = slots[owner]
        del slots[owner]
    for owner in slots:
        have, remain, count = running[owner]
        if remain:
            peak_kv.grow(slots[owner], count, remain - 1)
            running[owner] = (have + count, remain - 1, count)
    left = [running[owner] for owner in slots]
    for each, found in ((left, peak_kv.peak()), ([*left, new], peak_kv.peak(*new))):
        played = max(
            (sum(have + at * count for have, remain, count in each if remain >= at) for at in range(61)), default=0
        )
        assert found == played
    limit = data.draw(st.integers(1, 3000))
    assert peak_kv.fits(*new, limit) == (peak_kv.peak(*new) <= limit)
    assert peak_kv.fits(*new, limit) == (peak_kv.peak(*new) <= limit), "asked again"
    assert peak_kv.held == sum(have for have, _, _ in left)


# Engine model


def test_the_costs_of_steps_are_found_and_followed() -> None:
    model, rng = EngineModel(), random.Random(1)
    for true in (StepCosts(0.012, 25e-6, 5e-9), StepCosts(0.03, 60e-6, 2e-8)):
        for _ in range(3000):
            tokens, kv = rng.randint(1, 8000), rng.randint(0, 4_000_000)
            model.learn(true.seconds(tokens, kv) * rng.uniform(0.95, 1.05), tokens, kv)
        assert model.costs.fixed == pytest.approx(true.fixed, rel=0.25)
        assert model.costs.token == pytest.approx(true.token, rel=0.1)
        assert model.costs.seconds(100, 4_000_000) == pytest.approx(true.seconds(100, 4_000_000), rel=0.25)


def test_a_model_survives_steps_that_are_all_alike_or_nonsense() -> None:
    model = EngineModel(StepCosts(0.02, 1e-4, 0.0))
    for _ in range(20_000):
        model.learn(0.03, 100, 1000)
    model.learn(0.0, 100, 0)
    model.learn(1e9, 100, 0)
    assert model.costs.seconds(100, 1000) == pytest.approx(0.03, rel=0.01)
    assert model.prefill_rate(256, 0, 0) > 0


def test_a_stall_teaches_nothing_and_an_engine_that_has_become_slow_does() -> None:
    model = EngineModel(StepCosts(0.02, 1e-4, 0.0))
    for _ in range(200):
        model.learn(0.01, 32, 1000)
    known = model.costs.seconds(32, 1000)
    for _ in range(3):
        model.learn(2.0, 32, 1000)
    assert model.costs.seconds(32, 1000) == known
    for _ in range(200):
        model.learn(2.0, 32, 1000)
    assert model.costs.seconds(32, 1000) > 20 * known


# Prefix index, lengths


def test_a_prefix_is_known_by_all_that_makes_it() -> None:
    tokens = list(range(64))
    chain = prefix_chain(tokens, 16)
    assert len(chain) == 4
    assert prefix_chain([*tokens[:32], 7, *tokens[33:]], 16)[:2] == chain[:2]
    assert prefix_chain([*tokens[:32], 7, *tokens[33:]], 16)[2:] != chain[2:]
    assert not set(prefix_chain(tokens, 16, salt="other")) & set(chain)
    assert prefix_chain(tokens, 16, media={20: "cat"})[0] == chain[0]
    assert prefix_chain(tokens, 16, media={20: "cat"})[1:] != prefix_chain(tokens, 16, media={20: "dog"})[1:]


def test_the_estimate_of_the_cache_learns_and_forgets() -> None:
    index, chain = PrefixIndex(16, 6), prefix_chain(list(range(80)), 16)
    assert index.cached(chain, 80) == 0
    index.add(chain)
    assert index.cached(chain, 80) == 40
    for _ in range(200):
        index.learn(chain, 80)
    assert index.cached(chain, 80) == 79, "the last token is always computed"
    index.add(prefix_chain(list(range(100, 148)), 16))
    assert index.cached(chain, 80) == pytest.approx(48, abs=1), "of what is forgotten the beginning stays"


def test_lengths_are_those_of_the_tenant_then_of_all() -> None:
    lengths = OutputLengths(prior=256)
    assert lengths.predict("a", False, None, 1000) == 256
    assert lengths.predict("a", False, None, 10) == 10
    for _ in range(20):
        lengths.learn("a", False, None, 50)
    assert lengths.predict("a", False, None, 1000) == lengths.predict("new", False, None, 1000) == 50
    assert lengths.predict("a", True, None, 1000) == 256, "thinking is another kind of answer"
    for tenant in range(5000):
        lengths.learn(f"t{tenant}", False, None, 9)
    assert len(lengths._lengths) <= 4096


# Appointments


def book(row: Appointments, now: float, name: bytes, seconds: float = 1.0, free_at: float = 0.0, **values) -> float:
    told = {"first_try": now, "tenant": "a", "weight": 1.0, "patience": 5.0} | values
    return row.book(now, name, free_at, seconds, **told)


def test_bookings_follow_one_another_and_are_kept_once() -> None:
    row = Appointments()
    waits = [book(row, 100.0, bytes([n])) for n in range(5)]
    assert waits == sorted(waits)
    assert waits[0] >= 1
    assert row.keep(100.5, bytes([0])) is None, "too early"
    assert row.keep(100.0 + waits[0], bytes([0])) == 100.0
    assert row.keep(100.0 + waits[0], bytes([0])) is None, "it was used"
    assert row.keep(100.0, b"never seen") is None
    assert row.keep(100.0, None) is None


def test_no_one_is_told_more_than_the_longest() -> None:
    row = Appointments(longest=60.0)
    waits = [book(row, 0.0, n.to_bytes(2, "big"), 2.0) for n in range(500)]
    assert max(waits) <= 60
    assert len(row) < 60, "what cannot be promised is not booked"


def test_those_who_never_come_are_no_longer_counted_on() -> None:
    row = Appointments()
    for n in range(300):
        book(row, n * 0.1, n.to_bytes(2, "big"), 0.5)
    assert row.booked(30.0, 100.0, "a").seconds > 5
    row.booked(100.0, 100.0, "a")
    book(row, 200.0, b"x", 1.0)
    assert row.booked(200.0, 100.0, "a").seconds < 0.2
    assert row.booked(200.0, 100.0, "other").own == 0


# Fair queue


def waiting(queue: FairQueue, number: int, tenant: str, now: float = 0.0, weight: float = 1.0) -> Ticket:
    ticket = Ticket(number, ask(tenant, weight=weight), now)
    ticket.stage = Stage.WAITING
    queue.push(ticket)
    return ticket


def let_in(queue: FairQueue, units: float) -> str:
    ticket = queue.head()
    assert ticket is not None
    ticket.stage = Stage.RUNNING
    queue.leave(ticket)
    queue.charge_input(ticket, units)
    return ticket.tenant


def test_service_is_by_weight() -> None:
    queue = FairQueue(1.0, 2.0)
    for number in range(400):
        waiting(queue, number, "light" if number % 2 else "heavy", weight=1.0 if number % 2 else 3.0)
    served = [let_in(queue, 100) for _ in range(200)]
    assert served.count("heavy") == pytest.approx(150, abs=2)


def test_a_queue_that_was_empty_lifts_to_who_left_it_last_with_what_it_was_charged_since() -> None:
    queue = FairQueue(1.0, 2.0)
    first = waiting(queue, 1, "a")
    let_in(queue, 500)
    queue.charge_output(first, 100)
    waiting(queue, 2, "b")
    assert queue.counter(Ticket(3, ask("b"), 0.0)) == 700


def test_the_older_of_equal_tenants_is_first() -> None:
    queue = FairQueue(1.0, 2.0)
    waiting(queue, 1, "z")
    waiting(queue, 2, "a")
    assert let_in(queue, 1) == "z"


def test_the_longest_line_is_found_as_it_changes() -> None:
    queue, rng, tickets = FairQueue(1.0, 2.0), random.Random(3), []
    for number in range(600):
        if tickets and rng.random() < 0.45:
            ticket = tickets.pop(rng.randrange(len(tickets)))
            ticket.stage = Stage.ENDED
            queue.leave(ticket)
        else:
            tickets.append(waiting(queue, number, f"t{rng.randrange(9)}"))
        counts = [sum(each.tenant == f"t{n}" for each in tickets) for n in range(9)]
        longest = queue.largest(0)
        assert (longest.waiting if longest else 0) == max(counts)
        assert queue.largest(max(counts)) is None


# Room


def test_the_limit_of_sequences_follows_preemption_and_slow_decoding_but_not_prompts() -> None:
    policy = controller()
    for n in range(4):
        enter(policy, 0.0, ask(str(n)))
    policy.decide(0.0)
    room = policy.room
    policy.observe(1.0, EngineReport(2e-4 * 5000 + 0.02, 5000, 4, 4, 0, 0.5))
    assert room.sequence_limit == 4, "a long step that computes prompts is none"
    share = room.kv_share
    policy.observe(2.5, EngineReport(0.02, 0, 4, 4, 0, 0.5, preempted=1))
    assert room.kv_share < share
    for second in range(3, 200):
        policy.observe(second * 1.1, EngineReport(0.02, 0, 4, 4, 0, 0.5))
    assert room.kv_share == policy.rules.kv_share


def test_one_step_that_stalls_does_not_lower_the_limit_of_sequences_and_steps_that_are_long_do() -> None:
    policy = Controller(replace(SIZE, sequences=64), Rules(itl_seconds=0.15), prior=StepCosts(0.02, 2e-4))
    for number in range(40):
        enter(policy, 0.0, ask(str(number)))
    policy.decide(0.0)
    room = policy.room
    began = room.sequence_limit
    now = 0.0

    def steps(seconds: float, count: int) -> None:
        nonlocal now
        for _ in range(count):
            now += seconds
            policy.observe(now, EngineReport(seconds, 0, room.sequences, room.sequences, 0, 0.1))

    steps(1.5, 1)  # fills a window by itself
    steps(0.02, 40)
    steps(2.0, 1)
    steps(0.02, 60)
    assert room.sequence_limit >= began
    steps(0.6, 8)
    assert room.sequence_limit < began


def test_a_preemption_in_a_window_without_a_timed_step_shrinks_the_limit_no_further() -> None:
    policy = Controller(replace(SIZE, sequences=8), Rules(itl_seconds=100.0), prior=StepCosts(0.02, 2e-4))
    for number in range(8):
        enter(policy, 0.0, ask(str(number)))
    policy.decide(0.0)
    policy.observe(2.0, EngineReport(None, 0, 8, 8, 0, 0.5, preempted=1))
    assert policy.room.sequence_limit == pytest.approx(0.85 * 8)


def test_slow_first_tokens_shrink_the_limit_and_a_clients_own_wish_does_not() -> None:
    """Slow is what takes the engine more than 0.85 of the operator's objective, 10 s here."""
    for objective, seconds, shrinks in ((None, 9.0, True), (None, 8.0, False), (0.5, 8.0, False)):
        policy = Controller(replace(SIZE, sequences=8), Rules(itl_seconds=100.0), prior=StepCosts(0.02, 2e-4))
        tickets = [enter(policy, 0.0, ask(str(n), ttft_seconds=objective)) for n in range(8)]
        policy.decide(0.0)
        for ticket in tickets:
            policy.made(seconds, ticket, 1, 0)
        policy.observe(seconds, EngineReport(0.02, 0, 8, 8, 0, 0.5))
        assert (policy.room.sequence_limit < 8) is shrinks


# Controller


def test_who_is_refused_for_its_wait_displaces_nobody() -> None:
    policy = controller(max_waiting=3, static_waiting=100)
    for _ in range(4):
        enter(policy, 0.0, ask("rich", max_tokens=400))
        policy.decide(0.0)
    held = [enter(policy, 0.1, ask("rich")) for _ in range(3)]
    with pytest.raises(Refused) as refused:
        policy.arrive(0.2, ask("poor", ttft_seconds=0.001))
    assert refused.value.reason is Reason.DEADLINE_UNREACHABLE
    assert [ticket.stage for ticket in held] == [Stage.WAITING] * 3
    policy.arrive(0.3, ask("poor"))
    assert policy.decide(0.3).evict[0].reason is Reason.DISPLACED


def test_a_prompt_that_was_cancelled_in_the_engine_stays_charged() -> None:
    policy = controller()
    ticket = enter(policy, 0.0, ask("a", prompt_tokens=300))
    policy.decide(0.0)
    policy.leave(0.1, ticket, complete=False)
    assert policy.queues[INTERACTIVE].counter(ticket) == 300


def test_what_could_never_run_is_said_at_once() -> None:
    policy = controller()
    with pytest.raises(TooLarge, match="blocks"):
        enter(policy, 0.0, ask(prompt_tokens=4000))
    with pytest.raises(TooLarge, match="answers"):
        enter(policy, 0.0, ask(answers=5))
    assert policy.waiting == 0


def test_batch_gives_way_and_goes_on() -> None:
    policy = controller(reserve_memory_seconds=0.0)
    batch = [enter(policy, 0.0, ask(str(n), priority=BATCH), resumable=True) for n in range(4)]
    assert policy.decide(0.0).admit == batch
    urgent = enter(policy, 1.0, ask("urgent"))
    decisions = policy.decide(1.0)
    assert decisions.admit == []
    assert decisions.stop == [batch[3], batch[2]], "the newest first, a few at a time"
    for ticket in decisions.stop:
        policy.stopped(1.1, ticket, 0)
    assert policy.decide(1.1).admit[0] is urgent
    assert batch[3].stage is Stage.WAITING or batch[2].stage is Stage.WAITING


def test_an_engine_that_says_nothing_counts_as_full_and_wakes_nobody_in() -> None:
    policy = controller()
    enter(policy, 0.0, ask("a"))
    assert len(policy.decide(0.0).admit) == 1
    enter(policy, 6.0, ask("b"))
    assert policy.decide(6.0).admit == []
    policy.observe(6.1, EngineReport(0.02, 0, 1, 1, 0, 0.1))
    assert len(policy.decide(6.1).admit) == 1


def test_who_waits_too_long_is_told_when_to_come_back() -> None:
    policy = controller(classes={each: ClassRules(ttft_seconds=3.0) for each in PriorityClass})
    for n in range(4):
        enter(policy, 0.0, ask(str(n)))
    policy.decide(0.0)
    late = enter(policy, 0.0, ask("late"))
    policy.decide(0.0)
    at = policy.wake_at(0.0)
    assert at is not None
    assert 2.5 < at <= 3.0
    (eviction,) = policy.decide(at).evict
    assert (eviction.ticket, eviction.reason) == (late, Reason.DEADLINE_EXCEEDED)
    assert eviction.retry_after >= 1


def test_a_forecast_is_corrected_by_how_long_others_waited() -> None:
    forecast = controller().forecast
    for _ in range(300):
        forecast.learn_wait(2.0, 5.0)
    assert forecast.bias == pytest.approx(2.5, rel=0.01)
    reach = forecast.reach
    for _ in range(20):
        forecast.learn_late(2.0, 5.0)
    assert forecast.reach < reach
    for _ in range(50):
        forecast.learn_ttft(1.0, 9.0)
    assert not forecast.trusted


def test_a_door_that_has_become_too_careful_still_lets_into_an_empty_engine() -> None:
    alone = controller().forecast.alone(controller().arrive(0.0, ask(prompt_tokens=500)))
    rules = ClassRules(ttft_seconds=1.2 * alone, ageing_seconds=1.0)
    policy = controller(classes=dict.fromkeys(PriorityClass, rules))
    policy.forecast.reach = 0.5
    first = enter(policy, 0.0, ask(prompt_tokens=500))
    assert policy.decide(0.0).admit == [first]
    with pytest.raises(Refused):
        policy.arrive(0.0, ask(prompt_tokens=500))


def test_what_keeps_requests_waiting_is_told_while_they_wait() -> None:
    policy = controller()
    first, second = (enter(policy, 0.0, ask(prompt_tokens=1600, max_tokens=400)) for _ in range(2))
    assert policy.short_of == frozenset(), "not decided yet"
    assert policy.decide(0.0).admit == [first]
    assert policy.short_of == {"kv"}
    for number in range(4):
        policy.observe(0.1, EngineReport(0.05, 0, 1, 1, 0, 0.1))
        policy.decide(0.1 + number)
        assert policy.short_of == {"kv"}
    policy.decide(8.0)
    assert policy.short_of == frozenset(), "an engine that tells nothing is short of nothing that is known"
    policy.observe(8.0, EngineReport(0.05, 0, 1, 1, 0, 0.1))
    policy.leave(8.0, first, complete=True)
    policy.decide(8.0)
    assert (second.stage, policy.short_of) == (Stage.RUNNING, frozenset())
