"""Each property fails where the policy is broken in the way that it is there for: its source is changed in memory."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from tests.unit.admission import fairness, properties
from tests.unit.admission.fresh import UNCHANGED, Change, fresh
from tests.unit.admission.traces import Trace

TRACES = [Trace(seed, count=80, blocks=blocks, seconds=4.0) for seed in range(6) for blocks in (60, 150)]


def on_traces(check: Callable[[SimpleNamespace, Trace], None]) -> Callable[[SimpleNamespace], None]:
    return lambda code: [check(code, trace) for trace in TRACES] and None


def on_seeds(check: Callable[[SimpleNamespace, int], None]) -> Callable[[SimpleNamespace], None]:
    return lambda code: [check(code, seed) for seed in range(5)] and None


ENDS = on_traces(properties.ends_once)
LIMITS = on_traces(properties.keeps_to_limits)
WORK = on_traces(properties.conserves_work)
AGES = on_traces(properties.ages)
FAIR = on_seeds(fairness.shares_fairly)
BYPASS = on_seeds(properties.bounds_bypass)
OWN = on_seeds(fairness.gives_each_its_own_part)
AGE_FAIR = on_seeds(fairness.shares_by_weight_however_long_they_wait)
QUIET = on_seeds(fairness.serves_a_quiet_tenant)

PASSED = "if any(blocker.bypassed >= self._rules.bypasses for blocker in blockers):"
MUTATIONS: dict[str, tuple[Callable[[SimpleNamespace], None], list[Change]]] = {
    "the counter lift removed": (
        FAIR,
        [("fair_queue", "line.counter = max(line.counter, least)", "pass")],
    ),
    "nothing charged": (
        FAIR,
        [("fair_queue", "line.counter += units / line.weight", "pass")],
    ),
    "a release done twice": (
        ENDS,
        [("controller", "if stage is Stage.ENDED:\n            return", "if stage is None:\n            return")],
    ),
    "a cancelled prompt kept in the lane": (
        ENDS,
        [("room", "if ticket.prefilling:\n            self.prefilled(ticket)", "pass")],
    ),
    "a refusal at pricing leaves its place taken": (
        ENDS,
        [("controller", "        self.reserved -= 1\n        ticket.prompt,", "        ticket.prompt,")],
    ),
    "the bypass unbounded": (
        BYPASS,
        [
            ("selection", f"        {PASSED}\n            return None", ""),
            ("selection", f"            {PASSED}\n                break", ""),
            ("selection", "if ticket.bypassed >= self._rules.bypasses:", "if False:"),
        ],
    ),
    "new tenants before old ones": (
        BYPASS,
        [("fair_queue", "line.since = self._pushed", "line.since = -self._pushed")],
    ),
    "any number of sequences": (
        LIMITS,
        [("room", "limit = self.sequence_limit * share", "limit = 1e9")],
    ),
    "the KV limit ignored": (
        LIMITS,
        [("room", "capacity = int(self.kv_limit * share)", "capacity = 10**9")],
    ),
    "the peak taken too low": (
        LIMITS,
        [("peak_kv", "most = max(most, have + int(later))", "pass")],
    ),
    "the prefill limit ignored": (
        LIMITS,
        [("room", "and self.prefill[False] + ticket.uncached > limit", "and False")],
    ),
    "nothing enters beside others": (
        WORK,
        [("room", "if not self.running:\n            return \"\"", "if self.running:\n            return KV"),
         ("selection", "if not head.why and not blockers:", "if not head.why and not self._room.running:")],
    ),
    "only one enters at a time": (
        WORK,
        [("selection", "while queue.waiting:", "while queue.waiting and not admitted:")],
    ),
    "nothing kept for quiet tenants": (
        QUIET,
        [("shares", "return Opening(share, own=True)", "return Opening(share)"),
         ("shares", "excess = self._excess(ticket, held, fair)", "excess = 0.0")],
    ),
    "no part is a tenant's own": (
        OWN,
        [("shares", "return Opening(share, own=True)", "return Opening(share)")],
    ),
    "floods send all their prompts at once": (
        fairness.paces_floods,
        [("room", "if opening.gentle else limit", "if False else limit")],
    ),
    "who takes its own part is counted as passing": (
        fairness.passes_floods,
        [("selection", "blocker.bypassed += not (own and blocker.why == SEQUENCES)", "blocker.bypassed += 1")],
    ),
    "floods burst too": (
        fairness.lets_only_the_modest_burst,
        [("shares", "self._held.get(ticket.tenant, 0.0) <= _MODEST * mine", "True")],
    ),
    "nobody bursts": (
        fairness.lets_only_the_modest_burst,
        [("shares", "self._held.get(ticket.tenant, 0.0) <= _MODEST * mine", "False")],
    ),
    "any part is a tenant's own": (
        LIMITS,
        [("shares", "if held.sequences + ahead + ticket.sequences <= mine * (_BURST if saved else 1.0):", "if True:")],
    ),
    "a flood's next request stops everybody": (
        fairness.passes_floods,
        [("selection", "if ticket.why == RESERVED:", "if False:"),
         ("selection", "return RESERVED", "return SEQUENCES")],
    ),
    "who is served ages too": (
        AGE_FAIR,
        [("fair_queue", "max(head.queued or 0.0, self.served[long])", "head.queued or 0.0")],
    ),
    "nobody grows older": (
        AGES,
        [("controller", "self._promote(now, ticket, above)", "break")],
    ),
    "deadlines forgotten": (
        AGES,
        [("controller", "if ticket.stage is not Stage.ENDED and (late or over):", "if False:")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "check",
    [
        ENDS,
        LIMITS,
        WORK,
        AGES,
        FAIR,
        BYPASS,
        QUIET,
        OWN,
        AGE_FAIR,
        fairness.passes_floods,
        fairness.paces_floods,
        fairness.lets_only_the_modest_burst,
    ],
    ids=["ends", "limits", "work", "ages", "fair", "bypass", "quiet", "own", "age fair", "floods", "pace", "burst"],
)
def test_unbroken_code_passes(check: Callable[[SimpleNamespace], None]) -> None:
    check(UNCHANGED)


@pytest.mark.parametrize("name", MUTATIONS)
def test_broken_code_is_seen(name: str) -> None:
    check, changes = MUTATIONS[name]
    broken = fresh(*changes)
    with pytest.raises((AssertionError, KeyError, IndexError, RuntimeError)):
        check(broken)
